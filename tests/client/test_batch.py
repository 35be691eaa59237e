"""A file of messages in pieces: its keys, its bounds, and what becomes of its lines."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.client import Unreachable
from relay.client.address import Address
from relay.client.batch import LONGEST_LINE, PIECE_BYTES, PIECE_LINES, Batch, Line, lines_of, pieces_of
from relay.client.door import Door
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
    """One piece of two lines, and a door that answers it."""

    def __init__(self, answer: bytes) -> None:
        self.door = Doorway()
        self.door.body = answer
        agent = RequestTraversalAgent(self.door)
        door = Door(Address.parse("http://127.0.0.1:8080"), reactor=Clock(), agent=agent)
        self.failed: list[Line] = []
        self.batch = Batch(door, self.failed.append, lambda: None)
        self.sent: Deferred[None] = Deferred.fromCoroutine(self.batch.send([Line(7, b"one"), Line(9, b"two")]))
        agent.flush()

    def failure(self) -> Any:
        failures: list[Any] = []
        self.sent.addErrback(failures.append)
        return failures[0].value


def test_results_in_any_order_are_counted_and_those_that_failed_are_kept() -> None:
    sending = Sending(b'{"line": 2, "status": "delivered"}\n{"line": 1, "problem": {"type": "/problems/not-found"}}\n')
    assert sending.sent.called and sending.sent.result is None
    assert sending.door.bodies == [b"one\ntwo\n"]
    assert sending.batch.counts == {"delivered": 1, "failed": 1}
    assert sending.failed == [Line(7, b"one")]


def test_a_line_without_a_result_is_no_success() -> None:
    error = Sending(b'{"line": 1, "status": "queued"}\n').failure()
    assert isinstance(error, Unreachable)
    assert "line 9" in str(error)


def test_an_answer_of_something_else_is_none() -> None:
    assert "not a relay" in str(Sending(b"hello\n").failure())
