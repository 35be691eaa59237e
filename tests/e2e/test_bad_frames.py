"""Bad input at the WebSocket door: each has its documented answer, and nothing else is disturbed (protocol 2).

The tests of this module share one relay, and one bystander: a publisher and an agent that are at it all the time.
"""

from __future__ import annotations

import resource
import select
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.bystander import undisturbed
from tests.e2e.door import get, post
from tests.e2e.support import Daemon
from tests.e2e.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, Ended, Wire, frame, text

pytestmark = pytest.mark.e2e
OpenWire = Callable[..., Wire]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A relay with short patience, beside which a bystander goes about its business all the time."""
    impatient = {"RELAY_LIMITS_REGISTER_SECONDS": "3", "RELAY_LIMITS_MESSAGE_SECONDS": "1"}
    with Daemon(tmp_path_factory.mktemp("relay"), environment=impatient) as daemon, undisturbed(daemon):
        yield daemon
    assert not daemon.complaints(), daemon.past


MALFORMED = {
    "cut off": b"{",
    "empty": b"",
    "an array": b'["ack"]',
    "a number": b"7",
    "null": b"null",
    "NaN": b'{"type": "ack", "id": NaN}',
    "no type": b'{"id": "1"}',
    "a type that is no string": b'{"type": 3}',
    "an id that is no string": b'{"type": "ack", "id": 12}',
    "ids that are no list": b'{"type": "ack", "ids": "12"}',
    "an id that is null in a list": b'{"type": "ack", "ids": ["a", null]}',
    "an ack of nothing": b'{"type": "ack"}',
    "a nack of nothing": b'{"type": "nack"}',
    "a delay that is text": b'{"type": "nack", "id": "1", "delay": "soon"}',
    "a delay below zero": b'{"type": "nack", "id": "1", "delay": -1}',
    "requeue that is no bool": b'{"type": "nack", "id": "1", "requeue": "no"}',
    "a window that is text": b'{"type": "window", "max_in_flight": "wide"}',
    "a window without a size": b'{"type": "window"}',
    "a window below zero": b'{"type": "window", "max_in_flight": -1}',
    "a window in parts": b'{"type": "window", "max_in_flight": 1.5}',
    "a window that is true": b'{"type": "window", "max_in_flight": true}',
    "a delay without end": b'{"type": "nack", "id": "1", "delay": 1e999}',
    "a delay of 400 digits": b'{"type": "nack", "id": "1", "delay": 1' + b"0" * 400 + b"}",
    "a reason that is a number": b'{"type": "nack", "id": "1", "reason": 3}',
    "a nack of a list": b'{"type": "nack", "id": ["1"]}',
    "an ack of one and of many": b'{"type": "ack", "id": "1", "ids": ["2"]}',
    "a reply to many": b'{"type": "ack", "ids": ["1", "2"], "reply": 1}',
    "a reply that is no JSON": b'{"type": "ack", "id": "1", "reply": NaN}',
    "a reply 128 deep in its frame": b'{"type": "ack", "id": "1", "reply": ' + b"[" * 128 + b"]" * 128 + b"}",
    "confirm that is text": b'{"type": "ack", "id": "1", "confirm": "yes"}',
    "progress of nothing": b'{"type": "progress"}',
    "progress of a number": b'{"type": "progress", "id": 1}',
    "progress of ids that are text": b'{"type": "progress", "ids": "1"}',
    "progress of one and of many": b'{"type": "progress", "id": "1", "ids": []}',
    "auth without a token": b'{"type": "auth"}',
    "auth with a token that is a number": b'{"type": "auth", "token": 1}',
    "auth with a token that is null": b'{"type": "auth", "token": null}',
    "a ping whose ref is a number": b'{"type": "ping", "ref": 1}',
    "a lone surrogate": b'{"type": "ack", "id": "\\ud800"}',
    "2,000 deep": b'{"type": "ping", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "two objects": b'{"type": "ping"}{"type": "ping"}',
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_frame_is_an_error_and_has_no_effect(relay: Daemon, open_wire: OpenWire, payload: bytes) -> None:
    wire = open_wire(relay)
    wire.register("malformed")
    wire.put(frame(payload))
    told = wire.hear("error")
    assert (told["code"], bool(told["detail"])) == ("invalid-frame", True)
    assert wire.barrier() == []
    wire.close()
    wire.ended()


def test_a_frame_of_an_unknown_type_is_told_so(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("modern")
    wire.say(type="hologram", id="1")
    assert wire.hear("error")["code"] == "unknown-type"
    assert wire.barrier() == []


def test_a_fresh_token_is_taken_for_what_it_is_where_nobody_needs_one(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("open-house")
    wire.say(type="auth", token="t")
    assert wire.hear("authenticated").get("expires_at") is None
    assert wire.barrier() == []


def test_an_ack_of_a_list_without_a_single_id_is_nothing(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("empty-handed")
    wire.say(type="ack", ids=[], confirm=True)
    wire.say(type="progress", ids=[])
    wire.say(type="progress", id="of nobody")
    assert [(found["type"], found["ids"], found["unknown"]) for found in wire.barrier()] == [("acked", [], [])]


@pytest.mark.parametrize("frame_type", ["ack", "nack", "progress", "window"])
def test_who_only_publishes_has_nothing_to_say_of_messages(relay: Daemon, open_wire: OpenWire, frame_type: str) -> None:
    wire = open_wire(relay)
    wire.say(type="register")
    wire.hear("registered")
    wire.say(type=frame_type, id="1", max_in_flight=1)
    assert wire.hear("error")["code"] == "not-allowed"
    assert wire.barrier() == []


MALFORMED_REGISTRATIONS = {
    "an agent that is a number": b'{"type":"register","agent":7}',
    "an agent that is two dots": b'{"type":"register","agent":".."}',
    "an empty agent": b'{"type":"register","agent":""}',
    "a client of 129 characters": b'{"type":"register","agent":"a","client":"' + b"x" * 129 + b'"}',
    "a window of nothing": b'{"type":"register","agent":"a","max_in_flight":0}',
    "a window in parts": b'{"type":"register","agent":"a","max_in_flight":1.5}',
    "a patience below zero": b'{"type":"register","agent":"a","ack_wait":-1}',
    "a patience without end": b'{"type":"register","agent":"a","ack_wait":1e999}',
    "a largest frame that is too small": b'{"type":"register","agent":"a","max_frame":65535}',
    "a duplicate that is neither": b'{"type":"register","agent":"a","on_duplicate":"both"}',
    "raw that is no bool": b'{"type":"register","agent":"a","raw":1}',
    "batch that is text": b'{"type":"register","agent":"a","batch":"yes"}',
    "a token that is a number": b'{"type":"register","agent":"a","token":1}',
    "resume that is a list": b'{"type":"register","agent":"a","resume":[]}',
}


@pytest.mark.parametrize("payload", MALFORMED_REGISTRATIONS.values(), ids=MALFORMED_REGISTRATIONS)
def test_a_malformed_registration_is_told_why_and_closed(relay: Daemon, open_wire: OpenWire, payload: bytes) -> None:
    wire = open_wire(relay)
    wire.put(frame(payload))
    told = wire.hear("error")
    assert (told["code"], bool(told["detail"])) == ("invalid-frame", True)
    assert wire.ended().code == 4002


def test_fields_that_nobody_knows_are_ignored(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    assert wire.register("roomy", colour="blue", nested={"a": [1, 2, {}]})["agent"] == "roomy"
    message_id = post(relay.port, "roomy", "1", wait=0).json["id"]
    assert wire.hear("message")["id"] == message_id
    wire.put(frame(b'{"type": "ack", "id": "wrong", "mood": 1e999, "id": "%s"}' % message_id.encode()))
    assert wire.barrier() == []


def test_an_agent_that_makes_errors_without_end_is_closed(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("hopeless")
    wire.put(b"".join(text(type="nonsense") for _ in range(101)))
    for _ in range(100):
        assert wire.hear("error")["code"] == "unknown-type"
    end = wire.ended()
    assert (end.code, bool(end.reason)) == (4004, True)


CLOSED = {
    "a binary frame": (frame(b"\x00\x01", BINARY), 1003),
    "an empty binary frame": (frame(b"", BINARY), 1003),
    "a binary frame in pieces": (frame(b"\x00", BINARY, fin=False) + frame(b"", CONTINUATION), 1003),
    "invalid UTF-8": (frame(b'{"type": "p\xffng"}'), 1007),
    "invalid UTF-8 in pieces": (frame(b'"\xe2', fin=False) + frame(b'\x28"', CONTINUATION), 1007),
    "a surrogate in UTF-8": (frame(b'"\xed\xa0\x80"'), 1007),
    "a frame over the limit": (frame(b"x" * (2 * MIB + 1)), 1009),
    "a frame that claims 2^62 bytes": (struct.pack("!BBQ", 0x81, 0xFF, 1 << 62) + b"\0\0\0\0abc", 1009),
    "a message over the limit in pieces": (
        frame(b"x" * 2 * MIB, fin=False) + frame(b"x", CONTINUATION),
        1009,
    ),
    "no mask": (frame("{}", key=None), 1002),
    "a reserved bit": (frame("{}", rsv=4), 1002),
    "a reserved opcode": (frame("{}", 0x3), 1002),
    "a continuation of nothing": (frame("{}", CONTINUATION), 1002),
    "a message within a message": (frame("{", fin=False) + frame("{}"), 1002),
    "a ping in pieces": (frame(b"a", PING, fin=False), 1002),
    "a ping of 126 bytes": (frame(b"a" * 126, PING), 1002),
    "a close of one byte": (frame(b"a", CLOSE), 1002),
    "a close with a code nobody may send": (frame(struct.pack("!H", 1006), CLOSE), 1002),
    "a close with a bad reason": (frame(struct.pack("!H", 1000) + b"\xff", CLOSE), 1007),
}


@pytest.mark.parametrize("when", ["before it registered", "afterwards"])
@pytest.mark.parametrize(("sent", "code"), CLOSED.values(), ids=CLOSED)
def test_a_frame_that_breaks_the_protocol_ends_the_connection(
    relay: Daemon, open_wire: OpenWire, sent: bytes, code: int, when: str
) -> None:
    wire = open_wire(relay)
    if when == "afterwards":
        wire.register("protocol-breaker")
    wire.put(sent)
    assert wire.ended().code == code


def test_a_frame_of_the_largest_size_is_taken(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("large")
    wire.put(frame(b'{"type":"ping","ref":"max","x":"' + b"x" * (2 * MIB - 34) + b'"}'))
    assert wire.hear("pong")["ref"] == "max"


def test_empty_continuations_without_end_are_ended(relay: Daemon, open_wire: OpenWire) -> None:
    before = relay.resident()
    wire = open_wire(relay)
    wire.register("endless")
    piece = frame(b"", CONTINUATION, fin=False) * 10_000
    wire.put(frame(b"", TEXT, fin=False))
    sent = 0
    while sent < 400 and not select.select([wire.socket], [], [], 0)[0]:
        try:
            wire.put(piece)
        except ConnectionError:
            break
        sent += 1
    assert sent < 400
    assert wire.ended().code in (4004, 1006)
    assert relay.resident() - before < 16 * MIB


def test_more_than_a_thousand_fragments_are_4004(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("fragmented")
    wire.put(frame(b"{", fin=False) + frame(b" ", CONTINUATION, fin=False) * 1001)
    assert wire.ended().code == 4004


def test_a_message_in_a_few_pieces_with_a_ping_between_is_read(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("pieces")
    wire.put(frame('{"type":"pi', fin=False) + frame(b"hi", PING) + frame('ng","ref":"whole"}', CONTINUATION))
    assert wire.frame().payload == b"hi"
    assert wire.hear("pong")["ref"] == "whole"


def test_a_message_that_is_under_way_for_too_long_is_4004(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("unfinished")
    wire.put(frame(b"{", fin=False))
    assert wire.ended().code == 4004


@pytest.mark.parametrize("when", ["before it registered", "afterwards"])
def test_120_mb_of_pings_by_one_that_never_reads_leave_the_memory_flat(
    relay: Daemon, open_wire: OpenWire, when: str
) -> None:
    wire = open_wire(relay, receive_buffer=4096)
    if when == "afterwards":
        wire.register("pinging")
    before = most = relay.resident()
    pings = frame(b"p" * 125, PING) * 500
    wire.socket.settimeout(2)
    sent = 0
    try:
        while sent < 120 * MIB:
            sent += wire.socket.send(pings)
            most = max(most, relay.resident())
    except (TimeoutError, ConnectionError):
        pass  # it takes no more: the relay does not read from one that does not read
    assert most - before < 16 * MIB


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many descriptors as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_that_never_register_are_closed(relay: Daemon) -> None:
    before = relay.descriptors()
    with ExitStack() as stack:
        idle = [stack.enter_context(Wire(relay.port)) for _ in range(1000)]
        assert post(relay.port, "beside", "1").outcome == "queued: away"
        ends = [wire.ended() for wire in idle]
    assert {end.code for end in ends} == {4002}
    assert get(relay.port, "/healthz").status == 200
    assert relay.descriptors() <= before + 50


ATTACKS: dict[str, tuple[dict[str, str | None], int]] = {
    "a page on the internet": ({"Origin": "https://evil.example"}, 403),
    "a page that is nowhere": ({"Origin": "null"}, 403),
    "a name bound to loopback": ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
    "a name bound to loopback, no origin": ({"Host": "evil.example:8080"}, 421),
}


@pytest.mark.parametrize(("headers", "status"), ATTACKS.values(), ids=ATTACKS)
def test_a_foreign_page_may_not_register(
    relay: Daemon, open_wire: OpenWire, headers: dict[str, str | None], status: int
) -> None:
    assert open_wire(relay, headers=headers).answer.status in (status, 403)


def test_one_that_ends_in_the_middle_of_a_frame_is_forgotten(relay: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(relay)
    wire.register("torn")
    wire.put(frame(b"x" * 1000)[:500])
    wire.drop()
    with pytest.raises((Ended, OSError)):
        wire.barrier()
    assert post(relay.port, "torn", "1").outcome == "queued: away"
