"""The hot path and the general one say the same, byte for byte, whatever comes and however it is cut.

Each script is played twice over the real floor on a fake clock, with the hot path and without it. Chance is seeded and
time stands still, so that even ids must be equal: what the publishers were sent, what the agents were
sent, what was told to the subscribers, and what is in the store.
"""

from __future__ import annotations

import json
import random
import re
from ast import literal_eval
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from relay.core.access import Grant
from relay.core.limits import Limits
from relay.core.model import Outcome, Put
from relay.core.ports import StoreUnavailable
from relay.edge.fast import FastDoor, Head
from tests.edge.support import (
    CONTINUATION,
    PING,
    TEXT,
    Client,
    House,
    frame,
    frames,
    get,
    post,
    request,
    upgrade,
    whole,
)
from tests.edge.test_tls import Secure, pem
from tests.edge.whole import Relay

__all__ = ["pem"]  # a fixture

DATE = re.compile(rb"Date: [^\r]+")  #: the general way says when the request came, the hot path when it was answered
LIMITS = Limits(payload=3000, head_bytes=2000, frame=3000)
NAMES = ("one", "two", "many")  #: the last one takes several messages in a frame


class Steady(random.Random):
    """Chance that spreads nothing."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Stage:
    """A relay, publishers and three agents on sockets in memory, and a session that only publishes."""

    def __init__(self, *, fast: bool, limits: Limits = LIMITS) -> None:
        self.house = House(limits=limits, fast_door=fast)
        self.relay = Relay(self.house, **asdict(limits))
        # Sessions are told the end in no particular order.
        self.relay.hub._context.random = Steady(1)
        self.house.floor = self.relay.hub  # type: ignore[assignment]  # the real one
        self.house.__post_init__()
        self.publishers: list[Client] = [self.house.connect() for _ in range(3)]
        self.agents: list[Client] = [self._agent(name) for name in NAMES]
        self.read = [0 for _ in NAMES]
        self.speakers: list[Client] = [self._session({})]

    def _agent(self, name: str) -> Client:
        return self._session({"agent": name, "batch": name == "many"})

    def _session(self, fields: dict[str, Any]) -> Client:
        client = self.house.connect()
        client.send(upgrade() + frame(json.dumps({"type": "register", **fields}).encode()))
        return client

    def unread(self, number: int) -> list[dict[str, Any]]:
        """The messages that an agent got since the last look."""
        client = self.agents[number]
        found = [json.loads(text) for opcode, text in self.frames(client) if opcode == TEXT]
        new, self.read[number] = found[self.read[number] :], len(found)
        items = [item for each in new for item in each.get("messages", [each])]
        return [item for item in items if item["type"] == "message"]

    def frames(self, client: Client) -> list[tuple[int, bytes]]:
        """What an agent got, but for pings: at which of two equal times they go depends on when bytes leave."""
        sent = bytes(client.socket.sent).partition(b"\r\n\r\n")[2]
        return [(opcode, text) for opcode, text in frames(sent) if opcode != PING]

    def record(self) -> dict[str, Any]:
        """All that anybody could see of it, once it has come to its end."""
        self.house.pass_time(40)
        notices = self.relay.hub.notices.since(0)
        seen = {
            "answers": [DATE.sub(b"Date: now", bytes(client.socket.sent)) for client in self.publishers],
            "frames": [self.frames(client) for client in self.agents],
            "results": [self.frames(client) for client in self.speakers],
            "lost": [client.socket.lost for client in self.house.clients],
            "reading": [client.socket.reading for client in self.house.clients],
            "unread": [client.socket.unread for client in self.house.clients],
            "told": [
                [(notice.event, notice.fields) for notice in notices or () if notice.agent == name]
                for name in (*NAMES, "nobody")
            ],
            "queued": {name: self.queued(name) for name in NAMES},
        }
        for client in self.house.clients:
            client.socket.hang_up()
        self.house.pass_time(6)
        self.relay.close()
        self.relay.settle()
        self.house.close()
        return seen

    def queued(self, name: str) -> list[Any]:
        found: list[Any] = []
        self.relay.store.page(name, 0, 2**60, float("inf"), 1000, 1 << 30).addCallback(found.append)
        self.relay.settle()
        return [(record.message, record.trials.attempts) for record in found[0].records]


Step = Callable[[Stage], object]


@dataclass(frozen=True)
class Segment:
    """One of the publishers, or agents, sends this."""

    who: str
    number: int
    data: bytes

    def __call__(self, stage: Stage) -> None:
        clients: list[Client] = getattr(stage, self.who)
        clients[self.number].send(self.data)


def send(number: int, data: bytes) -> Step:
    return Segment("publishers", number, data)


def say(number: int, data: bytes) -> Step:
    return Segment("agents", number, data)


@dataclass(frozen=True)
class Answering:
    """An agent answers each message that it has not answered."""

    agent: int
    kind: str = "ack"
    fields: dict[str, Any] = field(default_factory=dict)
    cut: int = 0  #: bytes after which the segment ends; 0 = all in one

    def __call__(self, stage: Stage) -> None:
        said = b"".join(
            frame(json.dumps({"type": self.kind, "id": item["id"], **self.fields}).encode())
            for item in stage.unread(self.agent)
        )
        for piece in (said[: self.cut], said[self.cut :]):
            if piece:
                stage.agents[self.agent].send(piece)


def wait(seconds: float) -> Step:
    return lambda stage: stage.house.pass_time(seconds)


def hang_up(number: int) -> Step:
    return lambda stage: stage.publishers[number].socket.hang_up()


def leave(number: int) -> Step:
    return lambda stage: stage.agents[number].socket.hang_up()


def slow(number: int, room: int | None) -> Step:
    def step(stage: Stage) -> None:
        socket = stage.publishers[number].socket
        socket.room = room
        if room is None and not socket.lost:
            socket.startWriting()
            socket.run()

    return step


def drain(stage: Stage) -> None:
    stage.relay.hub.drain()


def store_down(stage: Stage) -> None:
    stage.relay.store.fail_with(StoreUnavailable("away"), Put)


def same(*steps: Step) -> dict[str, Any]:
    """Play the script through both doors: they must not differ. What was seen is returned."""
    record = played(True, steps)
    assert record == played(False, steps)
    return record


def played(fast: bool, steps: Sequence[Step], limits: Limits = LIMITS) -> dict[str, Any]:
    """What was seen of the script through one of the doors."""
    stage = Stage(fast=fast, limits=limits)
    for step in steps:
        step(stage)
        stage.relay.settle()  # what is written goes out, as it does in a turn of the reactor
    return stage.record()


JSON = {"content_type": "application/json"}

#: POSTs of every kind that the contract knows, to an agent that is here.
POSTS = {
    "plain": post("one", b'{"n":1}'),
    "to nobody": post("nobody", b"1"),
    "without a type": request("POST", "/v1/agents/one/messages", b"[1]"),
    "without a type, no JSON": request("POST", "/v1/agents/one/messages", b"[1"),
    "text": post("one", "grüß".encode(), content_type="text/plain"),
    "text that is none": post("one", b"\xff", content_type="text/plain"),
    "latin": post("one", b"\xfc", content_type="text/plain; charset=ISO-8859-1"),
    "another charset": post("one", b"\xfc", content_type="text/plain; charset=koi8-r"),
    "binary": post("one", bytes(range(256)), content_type="image/png"),
    "a type that is none": post("one", b"1", content_type="json"),
    "no JSON": post("one", b"{"),
    "not a number": post("one", b"NaN"),
    "too deep": post("one", b"[" * 200 + b"]" * 200),
    "empty": post("one", b""),
    "too large": post("one", b"1" * 3001),
    "just not too large": post("one", b"1" * 3000),
    "compressed": post("one", b"1", content_encoding="gzip"),
    "no agent": post("..", b"1"),
    "a long name": post("a" * 129, b"1"),
    "escaped": post("o%6Ee", b"1"),
    "with a query": request("POST", "/v1/agents/one/messages?a=1", b"1", **JSON),
    "with a token in it": request("POST", "/v1/agents/one/messages?token=1", b"1", **JSON),
    "another method": request("PUT", "/v1/agents/one/messages", b"1", **JSON),
    "a lower method": request("post", "/v1/agents/one/messages", b"1", **JSON),
    "a whole URL": request("POST", "http://localhost/v1/agents/one/messages", b"1", **JSON),
    "another host": post("one", b"1", host="evil.example"),
    "no host": post("one", b"1", host=None),
    "an origin": post("one", b"1", origin="http://localhost"),
    "another origin": post("one", b"1", origin="http://evil.example"),
    "usual headers": post("one", b"1", user_agent="curl/8.5.0", accept="*/*", accept_encoding="gzip, deflate"),
    "kept alive": post("one", b"1", connection="keep-alive"),
    "closed": post("one", b"1", connection="close"),
    "an unknown header": post("one", b"1", x_request_id="5"),
    "wait=0": post("one", b"1", prefer="wait=0"),
    "wait=1": post("one", b"1", prefer="wait=1"),
    "respond-async": post("one", b"1", prefer="respond-async"),
    "ttl": post("one", b"1", ttl="60"),
    "ttl 0": post("one", b"1", ttl="0"),
    "ttl of nonsense": post("one", b"1", ttl="soon"),
    "topic": post("one", b"1", topic="t"),
    "key": post("one", b"1", idempotency_key="k"),
    "callback": post("one", b"1", callback_url="https://example.org/"),
    "meta": post("one", b"1", relay_meta_room="kitchen"),
    "expect": post("one", b"1", expect="100-continue"),
    "HTTP/1.0": whole("POST", "/v1/agents/one/messages", "1.0", {"content_length": "1", **JSON}, b"1"),
    "chunked": get("/v1/agents/one/messages", method="POST", transfer_encoding="chunked", **JSON)
    + b"1\r\n1\r\n0\r\n\r\n",
    "both lengths": post("one", b"1", transfer_encoding="chunked"),
    "a length of nonsense": post("one", b"1", content_length="+1"),
    "a long length": post("one", b"1", content_length="0" * 20 + "1"),
    "a length in a value": post("one", b"1", user_agent="content-length: 5"),
    "a length in capitals": post("one", b"1").replace(b"content-length", b"CONTENT-LENGTH"),
    "two lengths, one in capitals": post("one", b"1").replace(b"content-type", b"CONTENT-LENGTH: 1\r\ncontent-type"),
    "two lengths": post("one", b"1").replace(b"content-length", b"content-length: 1\r\ncontent-length"),
    "a name twice": post("one", b"1").replace(b"content-type", b"content-type: text/plain\r\ncontent-type"),
    "two hosts": post("one", b"1").replace(b"host", b"host: localhost\r\nhost"),
    "a tab": post("one", b"1").replace(b"application/json", b"application/json;\tcharset=utf-8"),
    "blanks around": post("one", b"1").replace(b": application/json", b":  application/json "),
    "no blank": post("one", b"1").replace(b": application/json", b":application/json"),
    "a folded line": post("one", b"1").replace(b"application/json", b"application/\r\n json"),
    "a bare LF": post("one", b"1").replace(b"localhost\r\n", b"localhost\n"),
    "a bare CR": post("one", b"1").replace(b"application/json", b"application\rjson"),
    "a NUL": post("one", b"1").replace(b"application/json", b"application/json\0"),
    "a name with a blank": post("one", b"1").replace(b"content-type:", b"content-type :"),
    "beyond ASCII": post("one", b"1").replace(b"application/json", b"application/json; a=\xfc"),
    "a long head": post("one", b"1", user_agent="a" * 2000),
    "a blank line first": b"\r\n" + post("one", b"1"),
    "a body that follows itself": post("one", b"1") + b"2",
    "one after the other": post("one", b"1") + post("one", b"2") + post("two", b"3"),
}


@pytest.mark.parametrize("name", POSTS)
def test_every_post_is_answered_alike(name: str) -> None:
    same(send(0, POSTS[name]), Answering(0), send(0, post("one", b'"next"')), Answering(0), Answering(0))


@pytest.mark.parametrize("name", ["plain", "text", "no JSON", "to nobody", "usual headers"])
@pytest.mark.parametrize("size", [1, 30, 60, -1, -3])
def test_a_post_in_two_segments_is_answered_alike(name: str, size: int) -> None:
    data = POSTS[name]
    same(send(0, data[:size]), wait(3), send(0, data[size:]), Answering(0))


def test_the_same_lines_with_other_lengths_are_read_alike() -> None:
    bodies = (b"1", b"12", b"", b"1" * 3001, b"{", b"3")
    steps = [step for body in bodies for step in (send(0, post("one", body)), Answering(0))]
    same(*steps, send(1, post("two", b"1")), Answering(1), send(2, post("..", b"1")))


def test_a_body_that_follows_its_head_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    submit = FastDoor.submit

    def watched(door: FastDoor, head: Head, grant: Grant, body: bytes) -> Deferred[Outcome]:
        taken.append(body)
        return submit(door, head, grant, body)

    monkeypatch.setattr(FastDoor, "submit", watched)
    head, _, body = post("one", b'{"n":1}').partition(b"\r\n\r\n")
    seen = same(send(0, head + b"\r\n\r\n"), send(0, body), Answering(0), send(0, post("one", b"2")), Answering(0))
    assert taken == [b'{"n":1}', b"2"]
    assert seen["answers"][0].count(b'"status":"delivered"') == 2


@pytest.mark.parametrize("seconds", [5, 9.9, 10.1, 30])
@pytest.mark.parametrize("body", [b"", b'{"n'])
def test_a_body_that_stalls_is_timed_out_alike(body: bytes, seconds: float) -> None:
    head = post("one", b'{"n":1}').partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    same(send(0, head + body), wait(seconds), send(0, b'{"n":1}'[len(body) :]), wait(3), Answering(0))
    same(send(0, head + body), wait(seconds), send(0, b"{"), wait(11), send(0, b'"n":1}'), wait(3))


@pytest.mark.parametrize(
    "answering",
    [
        Answering(0),
        Answering(0, fields={"reply": {"n": [1.50, None]}}),
        Answering(0, fields={"reply": "x" * 70_000}),
        Answering(0, fields={"confirm": True}),
        Answering(0, fields={"unknown": 1}),
        Answering(0, fields={"ids": ["a"]}),
        Answering(0, fields={"id": None}),
        Answering(0, fields={"type": "nack"}),
        Answering(0, "nack"),
        Answering(0, "nack", {"requeue": False, "reason": "grün"}),
        Answering(0, "progress"),
        Answering(0, cut=1),
        Answering(0, cut=5),
        Answering(0, cut=40),
        Answering(1),
    ],
)
def test_every_answer_of_an_agent_counts_alike(answering: Answering) -> None:
    same(send(0, POSTS["plain"]), send(1, POSTS["wait=1"]), send(2, POSTS["text"]), answering, wait(6), Answering(0))


ACK = b'{"type":"ack","id":"x"}'
FRAMES = {
    "text": frame(ACK),
    "many": frame(ACK) * 5,
    "publish": frame(b'{"type":"publish","ref":"r","agent":"two","payload":{"a":"\xc3\xbc"}}'),
    "a long one": frame(b'{"type":"publish","ref":"r","agent":"two","payload":"%b"}' % (b"x" * 500)),
    "one too long": frame(b'{"type":"publish","ref":"r","agent":"two","payload":"%b"}' % (b"x" * 3000)),
    "exactly 125": frame(b'{"type":"ping","ref":"%b"}' % (b"x" * 101)),
    "exactly 126": frame(b'{"type":"ping","ref":"%b"}' % (b"x" * 102)),
    "exactly 127": frame(b'{"type":"ping","ref":"%b"}' % (b"x" * 103)),
    "a length in too many bytes": b"\x81\xfe\x00\x17" + frame(ACK)[2:],
    "a length in eight bytes": b"\x81\xff" + bytes(7) + b"\x17" + frame(ACK)[2:],
    "not masked": frame(ACK, key=None),
    "a mask of zeros": frame(ACK, key=b"\0\0\0\0"),
    "reserved bits": b"\xc1" + frame(ACK)[1:],
    "binary": frame(ACK, 2),
    "empty": frame(b""),
    "not UTF-8": frame(b'{"type":"ping","ref":"\xff"}'),
    "a lone surrogate": frame(b'{"type":"ping","ref":"\xed\xa0\x80"}'),
    "fragments": frame(ACK[:5], fin=False) + frame(ACK[5:], CONTINUATION),
    "a text in a text": frame(ACK[:5], fin=False) + frame(ACK),
    "a ping in a text": frame(ACK[:5], fin=False) + frame(b"p", PING) + frame(ACK[5:], CONTINUATION),
    "text, ping, text": frame(ACK) + frame(b"p", PING) + frame(ACK),
    "text, close, text": frame(ACK) + frame(b"\x03\xe8", 8) + frame(ACK),
    "no frame of ours": frame(b"[]") + frame(b'{"type":"dance"}') + frame(b'{"type":"register"}'),
    "too many errors": frame(b"[]") * 105,
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_is_taken_alike(name: str) -> None:
    data = FRAMES[name]
    same(say(0, data), wait(1), say(0, frame(ACK)), Answering(1), send(0, POSTS["plain"]), Answering(0))
    same(*(say(0, data[at : at + 1]) for at in range(min(len(data), 150))), wait(1))


@pytest.mark.parametrize("steps", [(drain,), (store_down,), (leave(0),), (hang_up(0),), (slow(0, 0), slow(0, None))])
def test_in_every_state_of_the_relay_it_is_alike(steps: tuple[Step, ...]) -> None:
    before: list[Step] = [send(0, POSTS["plain"]), send(1, POSTS["wait=1"])]
    after: list[Step] = [
        send(2, POSTS["plain"]),
        send(0, POSTS["plain"]),
        send(1, POSTS["to nobody"]),
        wait(1),
        Answering(0),
    ]
    for first in steps:
        same(*before, first, *after)
        same(first, *before, *after)
    same(*before, *steps, *after)


def test_who_does_not_read_its_answers_is_read_no_more_alike() -> None:
    posts = [send(0, POSTS["to nobody"]) for _ in range(20)]
    same(slow(0, 100), *posts, wait(1), slow(0, 5000), *posts, slow(0, None), *posts)
    many = [send(0, post("nobody", b"1") * 100) for _ in range(20)]
    same(slow(0, 100), *many, *posts, wait(1), slow(0, None), *posts)


def test_what_comes_while_one_waits_is_kept_alike() -> None:
    same(*[send(0, POSTS["plain"]) for _ in range(5)], wait(1), *[Answering(0) for _ in range(6)])
    same(send(0, POSTS["plain"]), send(0, b"x" * 40_000), Answering(0))
    same(send(0, POSTS["plain"]), send(0, upgrade()), Answering(0), wait(1))


CUTS = st.lists(st.integers(1, 400), max_size=4)


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["post", "post", "post", "answer", "answer", "frame", "wait", "other"]))
        number = draw(st.integers(0, 2))
        if kind == "post":
            data = POSTS[draw(st.sampled_from(sorted(POSTS)))]
            if draw(st.booleans()):
                data += POSTS[draw(st.sampled_from(sorted(POSTS)))]
            at = 0
            for cut in [*draw(CUTS), len(data)]:
                if data[at : at + cut]:
                    steps.append(send(number, data[at : at + cut]))
                at += cut
        elif kind == "answer":
            agent, word = draw(st.sampled_from([0, 1])), draw(st.sampled_from(["ack", "nack", "progress"]))
            steps.append(Answering(agent, word, cut=draw(st.sampled_from([0, 0, 7, 50]))))
        elif kind == "frame":
            steps.append(say(draw(st.sampled_from([0, 1])), FRAMES[draw(st.sampled_from(sorted(FRAMES)))]))
        elif kind == "wait":
            steps.append(wait(draw(st.sampled_from([0.1, 1.0, 4.9, 10.0]))))
        else:
            others = [drain, store_down, leave(0), hang_up(number), slow(number, 50), slow(number, None)]
            steps.append(draw(st.sampled_from(others)))
    return steps


@given(scripts())
def test_whatever_happens_it_is_alike(steps: list[Step]) -> None:
    same(*steps)


# -- publications, of which the hot path hands in several together


def publication(ref: object = None, to: str = "one", payload: Any = 1, **fields: Any) -> bytes:
    """A ``publish`` frame."""
    names = {"type": "publish", "agent": to, "payload": payload, "ref": None if ref is None else str(ref), **fields}
    text = json.dumps({name: value for name, value in names.items() if value is not None}, ensure_ascii=False)
    return frame(text.encode())


def speak(data: bytes) -> Step:
    return Segment("speakers", 0, data)


def alike(*steps: Step, limits: Limits = LIMITS) -> dict[str, Any]:
    """As ``same``, but for what the protocol leaves open where several are handed in together: what is in a frame with
    others, which of several results, or redeliveries, comes first, what happened first to different messages, and ids.
    """
    record = arranged(played(True, steps, limits))
    assert record == arranged(played(False, steps, limits))
    return record


def arranged(record: dict[str, Any]) -> dict[str, Any]:
    ids: dict[str, str] = {}

    def named(thing: object) -> str:
        return ID.sub(lambda match: ids.setdefault(match[0], f"id-{len(ids)}"), repr(thing))

    told: list[dict[str, list[Any]]] = []
    for notices in record.pop("told"):
        told.append({})
        for event, fields in notices:
            told[-1].setdefault(fields.get("id", ""), []).append((event, fields))
    # By agent, in the order in which they were accepted: so they get their names.
    seen: dict[str, Any] = {"told": named([list(each.items()) for each in told])}
    said = [list(items(frames)) for frames in (*record.pop("frames"), *record.pop("results"))]
    for free, may_come_later in (("results", is_result), ("again", is_sent_again)):
        seen[free] = [sorted(named(item) for item in items if may_come_later(item)) for items in said]
        said = [[item for item in items if not may_come_later(item)] for items in said]
    return {**seen, "said": named(said), "others": named(record)}


def items(said: list[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    """What the frames say, each message by itself."""
    for opcode, text in said:
        each = json.loads(text) if opcode == TEXT else {"type": opcode, "said": text}
        yield from each.get("messages", [each])


ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_result(item: dict[str, Any]) -> bool:
    return bool(item["type"] == "result")


def is_sent_again(item: dict[str, Any]) -> bool:
    return bool(item.get("attempt", 1) > 1)


PUBLICATIONS = {
    "plain": publication(1),
    "many": b"".join(publication(n, NAMES[n % 3], n) for n in range(12)),
    "many to one": b"".join(publication(n, "many", n) for n in range(12)),
    "to nobody": publication(1, "nobody") + publication(2, "nobody") + publication(3, "nobody"),
    "to some who are here": b"".join(publication(n, to) for n, to in enumerate(("nobody", "many", "one") * 3)),
    "without a ref": publication(to="many") * 2 + publication(to="one") + publication(to="nobody"),
    "of a long payload": publication(1, "many", "x" * 1000) + publication(2, "one", "y" * 2000) + publication(3),
    "a short one, as nobody writes it": frame(b'{"type":"publish","agent":"one","payload":1,"ref":"r"}') * 2,
    "the type last": frame(b'{"agent":"one","payload":1,"ref":"r","type":"publish"}') + publication(1),
    "a type twice": frame(b'{"type":"publish","agent":"one","payload":1,"type":"ping","ref":"r"}') * 2,
    "nothing but a type": frame(b'{"type":"publish",}') + frame(b'{"type":"publish",') + publication(1),
    "a bad one among them": publication(1) + publication(2, "..") + publication(3, "many") + publication(4, ttl=-1),
    "a bad one without a ref": publication(1) + publication(None, "..") + publication(2),
    "a long ref": publication(1) + publication("r" * 65) + publication(3),
    "too large a payload": publication(1, "many") + publication(2, "many", "x" * 2990) + publication(3, "many"),
    "too large a frame": publication(1) + publication(2, "many", "x" * 3000) + publication(3),
    "too deep": publication(1) + frame(b'{"type":"publish","agent":"one","ref":"2","payload":%b}' % (b"[" * 200)),
    "not UTF-8": publication(1)
    + frame(b'{"type":"publish","agent":"one","ref":"2","payload":"\xff"}')
    + publication(3),
    "umlauts": publication(1, payload="grün") + publication(2, "many", {"ü": "ß"}),
    "now or never": publication(1, ttl=0) + publication(2, "nobody", ttl=0) + publication(3, "many", ttl=0),
    "keys": publication(1, idempotency_key="k") + publication(2, idempotency_key="k") + publication(3),
    "topics": publication(1, topic="t") + publication(2, topic="t") + publication(3, "many", topic="t"),
    "no wait": publication(1, wait=0) + publication(2, "many", wait=0),
    "async": publication(1) + frame(b'{"type":"publish","agent":"one","payload":1,"ref":"3","async":true}'),
    "other waits": publication(1, wait=1) + publication(2, "many", wait=2) + publication(3, "many", wait=2.5),
    "base64": publication(1, payload="aGk=", encoding="base64") + publication(2, payload="$", encoding="base64"),
    "other frames between": publication(1) + frame(b'{"type":"ping","ref":"p"}') + publication(2) + frame(ACK),
    "a ping of the protocol between": publication(1) + frame(b"p", PING) + publication(2),
    "fragments between": publication(1) + frame(b'{"type":"p', fin=False) + frame(b'ing"}', CONTINUATION),
    "a text not masked between": publication(1) + frame(ACK, key=None) + publication(2),
    "a close after them": publication(1, "nobody") + publication(2, "many") + frame(b"\x03\xe8", 8) + publication(3),
    "too many errors before them": frame(b"[]") * 101 + publication(1) + publication(2),
    "a second registration between": publication(1) + frame(b'{"type":"register"}') + publication(2),
}
ANSWERS: list[Step] = [Answering(0), Answering(1), Answering(2)]


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_every_publication_is_taken_alike(name: str) -> None:
    data = PUBLICATIONS[name]
    alike(speak(data), *ANSWERS, wait(6), speak(data), wait(1), *ANSWERS)
    alike(say(0, data), *ANSWERS, wait(6))  # an agent that publishes, to itself too


def test_publications_in_any_segments_are_taken_alike() -> None:
    data = b"".join(PUBLICATIONS[name] for name in ("many", "a bad one among them", "to nobody"))
    for size in (1, 7, 60, 61, 150, 333):
        alike(*(speak(data[at : at + size]) for at in range(0, len(data), size)), *ANSWERS)


def test_publications_that_come_together_are_each_told_what_became_of_them() -> None:
    seen = alike(speak(PUBLICATIONS["many"] + publication(12, "..") + publication(13, "nobody")), *ANSWERS)
    results = map(literal_eval, seen["results"][-1])
    said = {result["ref"]: result.get("status") or result["problem"]["type"] for result in results}
    assert said == {str(n): "delivered" for n in range(12)} | {"12": "/problems/invalid-agent-id", "13": "queued"}


@pytest.mark.parametrize("most", [1, 5, 11, 12, 13, 20])
def test_as_many_publications_as_may_be_undecided_are_taken_alike(most: int) -> None:
    limits = Limits(payload=3000, frame=3000, undecided=most)
    many, away = PUBLICATIONS["many"], PUBLICATIONS["to some who are here"]
    seen = alike(speak(many), *ANSWERS, speak(away + many), *ANSWERS, limits=limits)
    told = [result for result in map(literal_eval, seen["results"][-1]) if "problem" in result]
    assert len(told) >= 12 - most
    assert {result["problem"]["type"] for result in told} <= {"/problems/rate-limited"}


@pytest.mark.parametrize(
    "limits",
    [
        {"frames": 5.0},
        {"queue_count": 2},
        {"queue_bytes": 100},
        {"total_count": 4},
        {"max_in_flight": 2, "default_in_flight": 2},
        {"errors": 3},
        {"batch_count": 2},
        {"silent_count": 2, "silent_seconds": 0.5},
    ],
    ids=str,
)
def test_other_limits_hold_alike_for_publications(limits: dict[str, Any]) -> None:
    data = PUBLICATIONS["many to one"] + PUBLICATIONS["a bad one among them"] + PUBLICATIONS["to nobody"]
    alike(speak(data), wait(2), *ANSWERS, speak(data), *ANSWERS, limits=Limits(payload=3000, frame=3000, **limits))


@pytest.mark.parametrize("step", [drain, store_down, leave(2), leave(0)])
@pytest.mark.parametrize("name", ["many", "many to one", "to some who are here", "now or never", "keys"])
def test_in_every_state_of_the_relay_publications_are_alike(step: Step, name: str) -> None:
    data = PUBLICATIONS[name]
    alike(speak(data), step, speak(data), wait(1), *ANSWERS, speak(data))
    alike(step, speak(data), *ANSWERS)


def test_who_leaves_with_publications_under_way_or_only_publishes_too_early_is_treated_alike() -> None:
    data = PUBLICATIONS["many"]
    alike(speak(data), lambda stage: stage.speakers[0].socket.hang_up(), drain, *ANSWERS)
    alike(lambda stage: stage.speakers.append(stage.house.connect()), Segment("speakers", 1, upgrade() + data))


@st.composite
def speeches(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["speak", "speak", "speak", "answer", "answer", "wait", "other"]))
        if kind == "speak":
            data = b"".join(draw(st.lists(st.sampled_from(sorted(PUBLICATIONS.values())), min_size=1, max_size=3)))
            at = 0
            for cut in [*draw(CUTS), len(data)]:
                if data[at : at + cut]:
                    steps.append(speak(data[at : at + cut]))
                at += cut
        elif kind == "answer":
            word = draw(st.sampled_from(["ack", "ack", "nack", "progress"]))
            steps.append(Answering(draw(st.sampled_from([0, 1, 2])), word))
        elif kind == "wait":
            steps.append(wait(draw(st.sampled_from([0.1, 1.0, 4.9, 10.0]))))
        else:
            steps.append(draw(st.sampled_from([drain, store_down, leave(0), leave(2), send(0, POSTS["plain"])])))
    return steps


@given(speeches())
def test_whatever_is_published_it_is_taken_alike(steps: list[Step]) -> None:
    alike(*steps)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # Twisted's
@pytest.mark.parametrize("name", ["plain", "text", "no JSON", "empty", "usual headers", "one after the other"])
def test_under_tls_it_is_alike(pem: bytes, name: str) -> None:
    seen = []
    for fast in (True, False):
        house = House(limits=LIMITS, fast_door=fast)
        publisher, agent = Secure(house, pem), Secure(house, pem)
        conversation = agent.join()
        publisher.send(POSTS[name])
        agent.send(frame(ACK) * 2 + frame(b"x" * 500))
        conversation.transport.send(b"1", b"2")
        answers = DATE.sub(b"Date: now", publisher.taken())
        seen.append((answers, agent.taken(), conversation.frames, house.floor.submissions))
        for client in (publisher, agent):
            client.socket.hang_up()
        house.site.doStop()
    assert seen[0] == seen[1]
    assert seen[0][1:3] == (b"\x81\x011\x81\x012", [ACK, ACK, b"x" * 500])
