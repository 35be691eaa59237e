"""A file of messages in pieces: its keys, its bounds, and what becomes of its lines."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.client import Answer, Refused, Unreachable
from relay.client.address import Address
from relay.client.batch import LONGEST_LINE, LONGEST_RESULT, PIECE_BYTES, PIECE_LINES, Batch, Line, lines_of, pieces_of
from relay.client.door import Door
from relay.core.problems import PROBLEMS
from tests.client.test_publisher import Doorway

LINE = b'{"agent": "desk-1", "payload": {"n": -0.0 }}'


def lines(data: bytes, name: str = "orders") -> list[Line]:
    return list(lines_of(io.BytesIO(data), name))


def test_each_line_gets_a_key_and_keeps_its_bytes() -> None:
    first, second = lines(LINE + b"\n\n" + LINE)
    assert (first.number, second.number) == (1, 3)
    assert first.data.endswith(b"," + LINE[1:])
    assert json.loads(first.data)["idempotency_key"] != json.loads(second.data)["idempotency_key"]


def test_the_same_file_has_the_same_keys_and_another_or_a_changed_line_others() -> None:
    assert lines(LINE) == lines(LINE)
    assert lines(LINE, "others") != lines(LINE)
    assert json.loads(lines(LINE)[0].data)["idempotency_key"] not in lines(LINE.replace(b"n", b"m"))[0].data.decode()


@pytest.mark.parametrize(
    "line", [b'{"agent": "a", "payload": 1, "idempotency_key": "k"}', b"{}", b"[1]", b"{\xff", b"x"]
)
def test_a_line_with_its_own_key_and_one_that_is_no_message_are_left_as_they_are(line: bytes) -> None:
    assert [each.data for each in lines(line)] == [line]


def test_a_line_without_end_is_not_kept() -> None:
    with pytest.raises(ValueError, match="line 2 is longer"):
        lines(b"{}\n" + b"x" * (LONGEST_LINE + 1))


def test_pieces_are_bounded_in_lines_and_bytes() -> None:
    many = [Line(number, b"{}") for number in range(PIECE_LINES + 1)]
    assert [len(piece) for piece in pieces_of(iter(many))] == [PIECE_LINES, 1]
    large = [Line(number, bytes(PIECE_BYTES // 2)) for number in range(3)]
    assert [len(piece) for piece in pieces_of(iter(large))] == [1, 1, 1]


class Sending:
    """A piece of two lines, and a door that answers each request with the next of these."""

    def __init__(self, *answers: bytes | tuple[int, bytes], keyed: bool = True) -> None:
        self.door = Doorway()
        self.answers = list(answers)
        self.clock = Clock()
        self.agent = RequestTraversalAgent(self.door)
        door = Door(Address.parse("http://127.0.0.1:8080"), reactor=self.clock, agent=self.agent)
        self.decided: list[tuple[int, str]] = []
        self.pauses: list[tuple[str, float]] = []
        self.batch = Batch(door, self.note, clock=self.clock, pausing=lambda *pause: self.pauses.append(pause))
        self.piece = [Line(7, b"one", keyed), Line(9, b"two", keyed)]
        self.next_answer()
        self.sent: Deferred[None] = Deferred.fromCoroutine(self.batch.send(self.piece))
        self.agent.flush()

    def note(self, line: Line, outcome: Answer | Refused) -> None:
        self.decided.append((line.number, outcome.problem.word if isinstance(outcome, Refused) else outcome.status))

    def next_answer(self) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.door.status, self.door.body = answer if isinstance(answer, tuple) else (200, answer)

    def go_on(self, seconds: float) -> None:
        """The pause passes, and the next request is answered."""
        self.next_answer()
        self.clock.advance(seconds)
        self.agent.flush()

    def failure(self) -> Any:
        failures: list[Any] = []
        self.sent.addErrback(failures.append)
        return failures[0].value


def done(line: int, status: str = "delivered") -> bytes:
    return json.dumps({"line": line, "id": "m", "agent": "a", "status": status}).encode() + b"\n"


def refused(line: int, word: str, **fields: Any) -> bytes:
    status = PROBLEMS[word][0]
    problem = {"type": f"/problems/{word}", "status": status, "detail": "why"}
    return json.dumps({"line": line, "problem": problem, **fields}).encode() + b"\n"


def test_results_in_any_order_are_told_of_the_line_that_they_are_about() -> None:
    sending = Sending(done(2) + refused(1, "not-found"))
    assert sending.sent.called and sending.sent.result is None
    assert sending.door.bodies == [b"one\ntwo\n"]
    assert sending.decided == [(9, "delivered"), (7, "not-found")]
    assert sending.pauses == []


def test_a_line_without_a_result_is_no_success() -> None:
    error = Sending(b"").failure()
    assert isinstance(error, Unreachable)
    assert "line 7" in str(error)


@pytest.mark.parametrize("answer", [b"hello\n", b"x" * (LONGEST_RESULT + 1), b'{"line": 1, "status": 7}\n'])
def test_an_answer_of_something_else_is_none(answer: bytes) -> None:
    assert "not a relay" in str(Sending(answer).failure())


@pytest.mark.parametrize(
    "word",
    ["rate-limited", "queue-full", "draining", "overloaded", "idempotency-in-progress", "request-timeout"],
)
@pytest.mark.parametrize("keyed", [True, False])
def test_a_line_of_which_nothing_was_kept_is_sent_again_when_it_may_be(word: str, keyed: bool) -> None:
    sending = Sending(done(1) + refused(2, word, retry_after=7), done(1, "queued"), keyed=keyed)
    assert sending.pauses == [(f"{word}: why", 7.0)]
    sending.go_on(6.9)
    assert len(sending.door.bodies) == 1
    sending.go_on(0.1)
    assert sending.door.bodies[1:] == [b"two\n"]
    assert sending.decided == [(7, "delivered"), (9, "queued")]
    assert sending.sent.called


@pytest.mark.parametrize("word", ["store-unavailable", "internal"])
def test_a_line_of_which_nobody_knows_is_sent_again_only_under_its_key(word: str) -> None:
    sending = Sending(done(1) + refused(2, word), done(1))
    sending.go_on(1)
    assert sending.decided == [(7, "delivered"), (9, "delivered")]
    assert Sending(done(1) + refused(2, word), keyed=False).decided == [(7, "delivered"), (9, word)]


def test_a_line_that_is_never_taken_is_given_up_in_the_end() -> None:
    sending = Sending(done(1) + refused(2, "queue-full"), refused(1, "queue-full"))
    for _ in range(30):
        sending.go_on(30)
    assert sending.decided == [(7, "delivered"), (9, "queue-full")]
    assert [seconds for _, seconds in sending.pauses] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert sending.sent.called


def test_a_relay_that_goes_away_in_the_middle_is_waited_for() -> None:
    sending = Sending(done(1), (503, b'{"type": "/problems/draining", "detail": "soon"}'), done(1))
    assert "line 9" in sending.pauses[0][0]
    sending.go_on(1)
    assert sending.pauses[1][0] == "draining: soon"
    sending.go_on(2)
    assert sending.decided == [(7, "delivered"), (9, "delivered")]


def test_one_that_was_never_there_is_not() -> None:
    assert isinstance(Sending((503, b'{"type": "/problems/draining"}')).failure(), Refused)


def test_without_keys_a_broken_batch_is_not_sent_twice() -> None:
    sending = Sending(done(1), keyed=False)
    assert isinstance(sending.failure(), Unreachable)
    assert len(sending.door.bodies) == 1
