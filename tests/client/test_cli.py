"""The command line against a relay in memory: what is typed, what is printed, and the exit code.

The reactor is one of Twisted's for tests; while it "runs" it plays the scene that the test has written. The commands,
the way they are run, HTTP and WebSocket are the real ones.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.web.server import Site

from relay import __version__
from relay.client.cli import execute
from relay.client.commands.common import Job, harmless, one_line
from relay.client.commands.serve import command_line
from relay.core.model import Reason
from tests.client.test_publisher import DELIVERED, Doorway
from tests.client.theatre import Theatre, Wire

AGENTS = [
    {"agent": "desk-1", "connected": True, "queued": 0, "in_flight": 12, "client": "typist/2", "remote": "127.0.0.1"},
    {"agent": "kitchen", "connected": False, "queued": 1234, "last_seen": "2026-01-01T00:00:00.000Z"},
]


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# send


def test_a_delivered_message_is_told_in_one_line(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    assert theatre.relay("send", "desk-1", "Grüß dich") == 0
    assert capfd.readouterr() == ("delivered to desk-1 (m1)\n", "")
    assert door.bodies == ["Grüß dich".encode()]
    assert door.requests[0].requestHeaders.getRawHeaders("content-type") == ["text/plain; charset=utf-8"]


@pytest.mark.parametrize("reason", [*Reason, "unheard-of"])
def test_a_queued_message_is_told_with_its_reason(theatre: Theatre, door: Doorway, capfd: Any, reason: str) -> None:
    answer = {"id": "m1", "agent": "desk-1", "status": "queued", "attempts": 0, "reason": str(reason)}
    door.body = json.dumps(answer).encode()
    assert theatre.relay("send", "desk-1", "hello") == 3
    told, complaints = capfd.readouterr()
    assert told.startswith("queued for desk-1 (m1): ")
    assert len(told) > 30 and told.count("\n") == 1
    assert complaints == ""


def test_a_reply_is_told_behind_the_delivery(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = DELIVERED[:-1] + b', "reply": {"n": -0.0 }}'
    assert theatre.relay("send", "desk-1", "hello") == 0
    assert capfd.readouterr() == ('delivered to desk-1 (m1): {"n": -0.0 }\n', "")


def test_what_is_asked_of_a_message_stands_in_its_headers(theatre: Theatre, door: Doorway) -> None:
    wishes = ["--ttl", "60", "--topic", "mood", "--key", "k1", "--header", "Room=a=b", "--header", "floor=2"]
    assert theatre.relay("send", "desk-1", "hello", *wishes, "--callback", "https://shop.example/told") == 0
    headers = door.requests[0].requestHeaders
    names = ("ttl", "topic", "idempotency-key", "callback-url", "relay-meta-room", "relay-meta-floor")
    assert [headers.getRawHeaders(name) for name in names] == [
        ["60"], ["mood"], ["k1"], ["https://shop.example/told"], ["a=b"], ["2"]
    ]  # fmt: skip


def test_a_queue_that_a_restart_would_lose_is_told_as_such(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = b'{"id":"m1","agent":"desk-1","status":"accepted","attempts":0,"reason":"away","durable":false}'
    assert theatre.relay("send", "desk-1", "hello", "--async") == 3
    assert "memory only" in capfd.readouterr().err
    assert door.requests[0].requestHeaders.getRawHeaders("prefer") == ["respond-async"]


def test_the_answer_is_printed_as_it_came_when_json_is_wanted(theatre: Theatre, capfd: Any) -> None:
    assert theatre.relay("send", "desk-1", "hello", "--json") == 0
    assert capfd.readouterr() == (DELIVERED.decode() + "\n", "")


def test_a_refusal_is_one_line_and_a_failure(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.status, door.body = 422, b'{"type":"/problems/rejected","detail":"no such printer\\u001b[2J"}'
    assert theatre.relay("send", "desk-1", "hello") == 1
    assert capfd.readouterr() == ("", "relay: rejected: no such printer\\x1b[2J\n")
    assert theatre_again(door).relay("send", "desk-1", "hello", "--json") == 1
    assert capfd.readouterr() == (door.body.decode() + "\n", "")


def theatre_again(door: Doorway) -> Theatre:
    return Theatre(Site(door))


def test_no_relay_is_one_line_and_a_failure(capfd: Any) -> None:
    theatre = Theatre(None)
    theatre.tcpServers.clear()
    assert theatre.relay("send", "desk-1", "hello", scene=theatre.fail) == 1
    assert capfd.readouterr() == (
        "",
        "relay: cannot reach http://127.0.0.1:8080: Connection was refused by other side\n",
    )


def decided(status: str, line: int = 1) -> bytes:
    return json.dumps({"line": line, "id": "m1", "agent": "a", "status": status}).encode() + b"\n"


def test_a_batch_is_told_by_what_became_of_its_lines(
    theatre: Theatre, door: Doorway, tmp_path: Path, capfd: Any
) -> None:
    file = tmp_path / "orders.ndjson"
    file.write_bytes(b'{"agent": "a", "payload": 1}\nnonsense\n')
    door.body = b'{"line": 2, "problem": {"type": "/problems/invalid-json"}}\n' + decided("delivered")
    assert theatre.relay("send", "--batch", str(file)) == 1
    beside = tmp_path / "orders.ndjson.failed"
    assert capfd.readouterr() == (f"2 lines: 1 delivered, 1 failed (see {beside})\n", "")
    assert beside.read_bytes() == b"nonsense\n"
    assert door.requests[0].path == b"/v1/messages"
    assert door.requests[0].requestHeaders.getRawHeaders("content-type") == ["application/x-ndjson"]


@pytest.mark.parametrize(("status", "code"), [("delivered", 0), ("queued", 3)])
def test_a_batch_without_failures_leaves_no_file_of_them(
    theatre: Theatre, door: Doorway, tmp_path: Path, status: str, code: int
) -> None:
    (tmp_path / "orders").write_bytes(b'{"agent": "a", "payload": 1}')
    door.body = decided(status)
    assert theatre.relay("send", "--batch", str(tmp_path / "orders")) == code
    assert [each.name for each in tmp_path.iterdir()] == ["orders"]


def test_an_interrupted_batch_says_how_to_go_on(theatre: Theatre, door: Doorway, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "orders").write_bytes(b'{"agent": "a", "payload": 1}')
    door.body = None
    assert theatre.relay("send", "--batch", str(tmp_path / "orders"), scene=theatre.stop) == 130
    assert "type the same again" in capfd.readouterr().err


def test_an_interrupted_message_is_told_as_such(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = None
    assert theatre.relay("send", "desk-1", "hello", scene=theatre.stop) == 130
    assert capfd.readouterr().err == "relay: interrupted\n"


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("order.json", b'{"a": 1}', "application/json"),
        ("notes.txt", "é".encode(), "text/plain; charset=utf-8"),
        ("page.html", b"<p>", "text/html; charset=utf-8"),
        ("notes.txt", b"\xff", "application/octet-stream"),
        ("picture.png", b"\x89PNG", "image/png"),
        ("nameless", b"words", "text/plain; charset=utf-8"),
        ("nameless", b"\x00\xff", "application/octet-stream"),
    ],
)
def test_a_file_is_sent_as_what_it_is(
    theatre: Theatre, door: Doorway, tmp_path: Path, name: str, content: bytes, content_type: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert theatre.relay("send", "desk-1", "--file", str(tmp_path / name), "--wait", "0") == 0
    assert door.bodies == [content]
    headers = door.requests[0].requestHeaders
    assert (headers.getRawHeaders("content-type"), headers.getRawHeaders("prefer")) == ([content_type], ["wait=0"])


def test_standard_input_is_sent_byte_for_byte(theatre: Theatre, door: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b"line\r\n\xff")
    assert theatre.relay("send", "desk-1", "--content-type", "audio/ogg") == 0
    assert door.bodies == [b"line\r\n\xff"]
    assert door.requests[0].requestHeaders.getRawHeaders("content-type") == ["audio/ogg"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["send"], "AGENT"),
        (["send", "..", "hello"], "128 characters"),
        (["send", "a/b", "hello"], "128 characters"),
        (["send", "desk-1", ""], "empty"),
        (["send", "desk-1", "hello", "--wait", "31"], "0<=x<=30"),
        (["send", "desk-1", "hello", "--file", __file__], "exclude each other"),
        (["send", "desk-1", "hello", "--ttl", "-1"], "x>=0"),
        (["send", "desk-1", "hello", "--header", "room"], "NAME=VALUE"),
        (["send", "desk-1", "hello", "--header", "a=1", "--header", "A=2"], "given once"),
        (["send", "desk-1", "--batch", __file__], "goes alone"),
        (["send", "--ttl", "1", "--batch", __file__], "goes alone"),
        (["send", "--batch", "/nowhere/at/all"], "does not exist"),
        (["send", "desk-1", "--file", "/nowhere/at/all"], "does not exist"),
        (["send", "desk-1", "hello", "--url", "gopher://relay"], "http, https, ws or wss"),
        (["send", "desk-1", "caf\udce9"], "UTF-8"),
        (["listen", "."], "128 characters"),
        (["listen", "desk-1", "--exec", "cat", "--json"], "exclude each other"),
        (["listen", "desk-1", "--count", "0"], "x>=1"),
        (["listen", "desk-1", "--on-duplicate", "fight"], "reject"),
        (["listen", "desk-1", "--ack-wait", "3601"], "3600"),
        (["agents", "--limit", "0"], "1<=x"),
        (["shout"], "No such command"),
    ],
)
def test_a_mistake_in_typing_is_named_and_nothing_is_done(arguments: list[str], complaint: str, capfd: Any) -> None:
    def run(job: Job) -> int:
        raise AssertionError("it was done")

    assert execute(arguments, run) == 2
    told, complaints = capfd.readouterr()
    assert told == ""
    assert complaint in complaints
    assert "Traceback" not in complaints


def test_nothing_on_standard_input_is_no_message(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    type_in(monkeypatch, b"")
    assert execute(["send", "desk-1"], lambda job: 0) == 2
    assert "empty" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["send", "listen", "agents", "serve"])
def test_every_command_explains_itself_with_examples(command: str, capfd: Any) -> None:
    assert execute([command, "--help"]) == 0
    assert f"relay {command}" in capfd.readouterr().out.partition("Examples:")[2]


def test_it_tells_its_version(capfd: Any) -> None:
    assert execute(["--version"]) == 0
    assert __version__ in capfd.readouterr().out


def test_the_relay_is_named_in_the_environment_once_for_all(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch, door: Doorway
) -> None:
    monkeypatch.setenv("RELAY_URL", "http://127.0.0.1:8080/behind/a/proxy")
    assert theatre.relay("send", "desk-1", "hello") == 0
    assert door.requests[0].path == b"/behind/a/proxy/v1/agents/desk-1/messages"


# listen


def test_messages_are_printed_as_text_and_acknowledged(wire: Wire, capfd: Any) -> None:
    def scene() -> None:
        wire.register(queued=2)
        wire.push("m1", "Grüß dich\x1b")
        wire.push("m2", {"a": 1}, "application/json")
        wire.push("m3", "/w==", "image/png", encoding="base64")
        assert wire.answers("ack") == ["m1", "m2", "m3"]
        wire.theatre.stop()

    assert wire.theatre.relay("listen", "desk-1", scene=scene) == 0
    told, complaints = capfd.readouterr()
    assert told == 'Grüß dich\x1b\n{"a": 1}\n/w==\n'
    assert complaints == "relay: listening as desk-1 at http://127.0.0.1:8080 (2 waiting)\n"
    assert wire.relay.closed_with == 1000


def test_json_is_one_object_a_line_with_the_payload_byte_for_byte(wire: Wire, capfd: Any) -> None:
    def scene() -> None:
        wire.register()
        payload = b'{"n":\n -0.0, "long": ' + b"7" * 5000 + b"}"
        frame = b'{"type":"message","id":"m1","payload":' + payload + b',"content_type":"application/json"}'
        wire.relay.sendMessage(frame)
        wire.theatre.play()
        wire.theatre.stop()

    assert wire.theatre.relay("listen", "desk-1", "--json", scene=scene) == 0
    line = capfd.readouterr().out
    assert line.count("\n") == 1
    assert '"payload":{"n":  -0.0, "long": ' + "7" * 5000 + "}" in line
    assert '"id":"m1"' in line


def test_it_stops_after_so_many_and_takes_no_more_than_those(wire: Wire, capfd: Any) -> None:
    def scene() -> None:
        wire.register()
        wire.push("m1", "one")
        wire.push("m2", "two")

    assert wire.theatre.relay("listen", "desk-1", "--count", "2", scene=scene) == 0
    frames = [frame["type"] for frame in wire.relay.frames]
    assert wire.relay.frames[0]["max_in_flight"] == 1
    assert frames == ["register", "ack", "window", "ack"]
    assert capfd.readouterr().out == "one\ntwo\n"


def test_a_message_that_cannot_be_printed_is_left_with_the_relay(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    def scene() -> None:
        wire.register()
        wire.push("m1", "one")

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Full()))
    assert wire.theatre.relay("listen", "desk-1", scene=scene) == 1
    assert wire.answers("ack", "nack") == []
    assert "relay: cannot go on: No space left on device" in capfd.readouterr().err


def test_why_it_was_closed_is_told_and_it_comes_back(wire: Wire, capfd: Any) -> None:
    def scene() -> None:
        wire.register()
        wire.relay.sendCloseFrame(1001, b"draining; retry_after=3")
        wire.theatre.play()
        wire.theatre.advance(4)
        wire.theatre.play()
        wire.register()
        wire.theatre.stop()

    assert wire.theatre.relay("listen", "desk-1", scene=scene) == 0
    first, why, second = capfd.readouterr().err.splitlines()
    assert first == second
    said, _, pause = why.partition("; trying again in ")
    assert said == "relay: the relay is shutting down or restarting (1001): draining"
    assert 3 <= float(pause.removesuffix(" s")) <= 4, "the bound that was asked for, and a jitter of up to a second"


def test_it_fails_where_it_may_not_come_back(wire: Wire, capfd: Any) -> None:
    def scene() -> None:
        wire.register()
        wire.relay.sendCloseFrame(4001, b"replaced")
        wire.theatre.play()

    assert wire.theatre.relay("listen", "desk-1", scene=scene) == 1
    assert "took its place (4001): replaced; not trying again" in capfd.readouterr().err


# agents


def test_agents_are_listed_in_aligned_columns(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = json.dumps({"items": AGENTS, "next": None}).encode()
    assert theatre.relay("agents", "--away", "--prefix", "desk-", "--limit", "5") == 0
    assert capfd.readouterr().out.splitlines() == [
        "AGENT    STATE      QUEUED  IN FLIGHT  SINCE  LAST SEEN                 CLIENT    REMOTE",
        "desk-1   connected       0         12  -      -                         typist/2  127.0.0.1",
        "kitchen  away         1234          0  -      2026-01-01T00:00:00.000Z  -         -",
    ]
    assert door.requests[0].args == {b"limit": [b"6"], b"connected": [b"false"], b"prefix": [b"desk-"]}


def test_agents_are_one_object_a_line_when_json_is_wanted(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = json.dumps({"items": AGENTS, "next": None}).encode()
    assert theatre.relay("agents", "--json") == 0
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == AGENTS


def test_pages_are_followed_up_to_the_limit(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = json.dumps({"items": AGENTS, "next": "c/1"}).encode()
    assert theatre.relay("agents", "--limit", "4") == 0
    told, complaints = capfd.readouterr()
    assert len(told.splitlines()) == 5
    assert "more than 4" in complaints
    assert [request.args.get(b"cursor") for request in door.requests] == [None, [b"c/1"], [b"c/1"]]


def test_no_agents_are_told_in_words(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    door.body = b'{"items": [], "next": null}'
    assert theatre.relay("agents") == 0
    assert capfd.readouterr().out == "no agents\n"


@pytest.mark.parametrize("body", [b"[]", b'{"items": [1]}', b"nothing", b"\xff"])
def test_something_that_is_no_list_of_agents_is_one_line(
    theatre: Theatre, door: Doorway, capfd: Any, body: bytes
) -> None:
    door.body = body
    assert theatre.relay("agents") == 1
    complaints = capfd.readouterr().err
    assert complaints.startswith("relay: what answered is not a relay")
    assert complaints.count("\n") == 1


# serve, and words


def test_serve_is_twistd_of_the_same_python_with_the_options_passed_on() -> None:
    line = command_line(("--listen", "tcp:0", "--store=memory:"))
    assert line[0] == sys.executable
    assert line[line.index("-n") :] == ["-n", "--pidfile=", "relay", "--listen", "tcp:0", "--store=memory:"]


def test_what_would_move_a_cursor_is_made_visible() -> None:
    assert one_line("a\x1b[31mb\nc\x9bd é 你") == "a\\x1b[31mb\\nc\\x9bd é 你"
    assert harmless("a\tb\nc\rd") == "a\tb\nc\\rd"
