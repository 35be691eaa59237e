"""The commands that look and mend, against a door in memory: what is asked, what is printed, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.server import NOT_DONE_YET, Request, Site

from relay.client.batch import Line
from relay.client.cli import execute
from relay.client.commands.batch import Progress
from relay.client.commands.common import Job
from tests.client.test_admin import MESSAGE
from tests.client.test_publisher import Doorway
from tests.client.theatre import Theatre

QUEUED = MESSAGE | {"status": "queued", "size": 12, "content_type": "text/plain", "ended_at": None, "topic": "mood\x1b"}
LETTER = MESSAGE | {"status": "rejected", "reason": "rejected", "detail": "no such\nprinter", "size": 3}


def asked(door: Doorway) -> list[str]:
    return [f"{each.method.decode()} {each.uri.decode()}" for each in door.requests]


def answers(door: Doorway, body: object) -> None:
    door.body = json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "code"), [("delivered", 0), ("queued", 3), ("sent", 3), ("rejected", 1), ("expired", 1), ("dead", 1)]
)
def test_the_status_of_a_message_is_told_with_its_history(
    theatre: Theatre, door: Doorway, capfd: Any, status: str, code: int
) -> None:
    answers(door, MESSAGE | {"status": status})
    assert theatre.relay("status", "m1", "--wait", "5") == code
    assert capfd.readouterr().out == (
        f'{status} for desk-1 (m1), 2 attempts: {{"n": 1}}\n  2026-01-01T00:00:00.000Z  accepted\n'
    )
    assert door.requests[0].requestHeaders.getRawHeaders("prefer") == ["wait=5"]


def test_a_status_is_printed_as_it_came_when_json_is_wanted(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    answers(door, MESSAGE)
    assert theatre.relay("status", "m1", "--json") == 0
    assert json.loads(capfd.readouterr().out) == MESSAGE


def test_a_message_is_cancelled_or_it_is_too_late(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    answers(door, {"deleted": 1})
    assert theatre.relay("cancel", "m1") == 0
    door.status = 409
    answers(door, {"type": "/problems/too-late", "detail": "it was delivered"})
    assert Theatre(Site(door)).relay("cancel", "m1") == 1
    assert capfd.readouterr() == ("cancelled m1\n", "relay: too-late: it was delivered\n")
    assert asked(door) == ["DELETE /v1/messages/m1"] * 2


def test_a_queue_is_listed_in_aligned_columns(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    answers(door, {"items": [QUEUED], "next": None})
    assert theatre.relay("queue", "desk-1", "--limit", "3") == 0
    heading, line = capfd.readouterr().out.splitlines()
    assert heading.split() == ["ID", "STATUS", "ATTEMPTS", "BYTES", "CREATED", "EXPIRES", "TOPIC", "TYPE"]
    assert line.split()[:4] == ["m1", "queued", "2", "12"]
    assert "mood\\x1b" in line
    assert asked(door) == ["GET /v1/agents/desk-1/messages?limit=4"]


def test_a_queue_is_one_object_a_line_with_its_payloads_when_that_is_wanted(
    theatre: Theatre, door: Doorway, capfd: Any
) -> None:
    door.body = b'{"items": [{"id":"m1","agent":"desk-1","status":"queued","payload":{"n": -0.0 }}], "next": null}'
    assert theatre.relay("queue", "desk-1", "--json", "--payload") == 0
    assert '"payload":{"n": -0.0 }' in capfd.readouterr().out
    assert asked(door) == ["GET /v1/agents/desk-1/messages?limit=1000&payload=true"]


def test_a_queue_is_emptied(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    answers(door, {"deleted": 12})
    assert theatre.relay("queue", "desk-1", "--empty") == 0
    assert capfd.readouterr().out == "12 cancelled\n"
    assert asked(door) == ["DELETE /v1/agents/desk-1/messages"]


def test_dead_letters_are_listed_with_their_reasons(theatre: Theatre, door: Doorway, capfd: Any) -> None:
    answers(door, {"items": [LETTER], "next": None})
    assert theatre.relay("dead", "list") == 0
    assert Theatre(Site(door)).relay("dead", "list", "--json") == 0
    heading, line, as_json = capfd.readouterr().out.splitlines()
    assert heading.split() == ["ID", "AGENT", "REASON", "ATTEMPTS", "BYTES", "ENDED", "DETAIL"]
    assert line.endswith("no such\\nprinter")
    assert json.loads(as_json) == LETTER


@pytest.mark.parametrize(
    ("verb", "call", "answer", "told"),
    [
        ("requeue", "POST /v1/dead-letters/{}/requeue", QUEUED, "queued for desk-1 (m1)\n"),
        ("remove", "DELETE /v1/dead-letters/{}", {"deleted": 1}, "removed m2\n"),
    ],
)
def test_dead_letters_are_sent_again_or_put_away_and_one_that_is_not_there_stops_nothing(
    theatre: Theatre, door: Doorway, capfd: Any, verb: str, call: str, answer: Any, told: str
) -> None:
    class OneIsMissing(Doorway):
        def render(self, request: Request) -> bytes | int:
            missing = b"m1" in request.path
            self.status = 404 if missing else 200
            answers(self, {"type": "/problems/not-found", "detail": "no such letter"} if missing else answer)
            return super().render(request)

    door.__class__ = OneIsMissing
    assert theatre.relay("dead", verb, "m1", "m2") == 1
    assert capfd.readouterr() == (told, "relay: m1: not-found: no such letter\n")
    assert asked(door) == [call.format("m1"), call.format("m2")]


@pytest.mark.parametrize(("deleted", "code", "told"), [(1, 0, "is disconnected"), (0, 1, "was not connected")])
def test_an_agent_is_disconnected(
    theatre: Theatre, door: Doorway, capfd: Any, deleted: int, code: int, told: str
) -> None:
    answers(door, {"deleted": deleted})
    assert theatre.relay("disconnect", "desk-1") == code
    assert capfd.readouterr().out == f"desk-1 {told}\n"


@pytest.mark.parametrize(
    ("items", "words", "told"),
    [([], ["queue", "desk-1"], "nothing waits for desk-1\n"), ([], ["dead", "list"], "no dead letters\n")],
)
def test_nothing_is_told_in_words(
    theatre: Theatre, door: Doorway, capfd: Any, items: list[Any], words: list[str], told: str
) -> None:
    answers(door, {"items": items, "next": None})
    assert theatre.relay(*words) == 0
    assert capfd.readouterr().out == told


# events


class Stream(Doorway):
    """A door that goes on talking."""

    def render(self, request: Request) -> int:
        self.requests.append(request)
        request.setHeader("Content-Type", "text/event-stream")
        request.write(b"event: hello\nid: b-1\ndata: {}\n\n")
        return NOT_DONE_YET

    def tell(self, number: int) -> None:
        data = json.dumps({"at": "2026", "agent": "desk-1", "id": f"m{number}", "reply": {"n": number}})
        self.requests[-1].write(f"event: message.delivered\nid: b-{number}\ndata: {data}\n\n".encode())


def test_events_are_printed_one_a_line_until_it_is_interrupted(capfd: Any) -> None:
    door = Stream()
    theatre = Theatre(Site(door))

    def scene() -> None:
        door.tell(2)
        theatre.play()
        theatre.stop()

    words = ["events", "--agent", "desk-1", "--types", "message.delivered, message.dead", "--since", "b-0"]
    assert theatre.relay(*words, scene=scene) == 0
    told, said = capfd.readouterr()
    assert told == '2026  message.delivered     desk-1  id=m2 reply={"n":2}\n'
    assert said == "relay: watching http://127.0.0.1:8080\n"
    assert asked(door) == ["GET /v1/events?agent=desk-1&types=message.delivered%2Cmessage.dead"]
    assert door.requests[0].requestHeaders.getRawHeaders("last-event-id") == ["b-0"]


def test_events_are_one_object_a_line_and_end_after_so_many(capfd: Any) -> None:
    door = Stream()
    theatre = Theatre(Site(door))

    def scene() -> None:
        door.tell(2)
        door.tell(3)
        theatre.play()

    assert theatre.relay("events", "--json", "--count", "1", scene=scene) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line) == {
        "type": "message.delivered", "id": "m2", "event_id": "b-2", "at": "2026", "agent": "desk-1", "reply": {"n": 2}
    }  # fmt: skip


# tokens


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_token_may_stand_in_a_file(
    theatre: Theatre, door: Doorway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    (tmp_path / "token").write_text("secret\n")
    answers(door, {"deleted": 1})
    given = ["--token-file", str(tmp_path / "token")]
    if by_environment:
        monkeypatch.setenv("RELAY_TOKEN_FILE", given[1])
        given = []
    assert theatre.relay("cancel", "m1", *given) == 0
    assert door.requests[0].requestHeaders.getRawHeaders("authorization") == ["Bearer secret"]


@pytest.mark.parametrize("content", ["", "two words", "x" * 20_000])
def test_a_file_without_a_token_is_one_line_and_its_content_is_not_shown(
    theatre: Theatre, door: Doorway, tmp_path: Path, capfd: Any, content: str
) -> None:
    (tmp_path / "token").write_text(content)
    assert theatre.relay("cancel", "m1", "--token-file", str(tmp_path / "token")) == 1
    said = capfd.readouterr().err
    assert "token" in said and said.count("\n") == 1
    assert "two words" not in said and "xxx" not in said
    assert door.requests == []


# typing


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["status"], "ID"),
        (["status", "m1", "--wait", "31"], "0<=x<=30"),
        (["queue", ".."], "128 characters"),
        (["queue", "desk-1", "--payload"], "--payload goes with --json"),
        (["queue", "desk-1", "--empty", "--json"], "exclude each other"),
        (["dead", "requeue"], "ID"),
        (["disconnect"], "AGENT"),
        (["events", "--count", "0"], "x>=1"),
        (["cancel", "m1", "--token", "secret"], "No such option"),
        (["cancel", "m1", "--token-file", "/nowhere"], "does not exist"),
    ],
)
def test_a_mistake_in_typing_is_named_and_nothing_is_done(arguments: list[str], complaint: str, capfd: Any) -> None:
    def run(job: Job) -> int:
        raise AssertionError("it was done")

    assert execute(arguments, run) == 2
    assert complaint in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", ["status", "cancel", "queue", "dead list", "dead requeue", "dead remove", "disconnect", "events"]
)
def test_every_command_explains_itself_with_examples(command: str, capfd: Any) -> None:
    assert execute([*command.split(), "--help"]) == 0
    assert f"relay {command}" in capfd.readouterr().out.partition("Examples:")[2]


# the progress of a batch


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "[#####...............]   25%  125/s  50 failed, 1,200 queued"),
        (60, " 25%  125/s  50 failed, 1,200 queued"),
        (36, " 25%  125/s  1,250 lines  50 failed"),
        (30, " 25%  125/s  50 failed"),
        (10, " 25%"),
        (1, ""),
    ],
)
def test_how_far_a_batch_is_fits_in_a_line_of_the_terminal(columns: int, line: str) -> None:
    progress = Progress(Clock(), 5000)
    for number in range(1250):
        progress.add(Line(number, b"", size=1), "failed" if number < 50 else "queued")
    assert progress.line(10.0, columns) == line


def test_a_batch_of_which_nothing_is_known_yet_has_a_line_too() -> None:
    assert Progress(Clock(), 0).line(0.0, 80).split() == ["[....................]", "0%", "0/s"]
