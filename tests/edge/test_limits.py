"""Bounds of one request or one connection that have no other place: each is refused, and counted under its name."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from relay.core.limits import Limits
from tests.edge.support import TEXT, House, frame, join, post, request
from tests.edge.whole import Relay

Build = Callable[..., House]


def meta(count: int, size: int = 1) -> dict[str, str | None]:
    return {f"relay-meta-{number}": "x" * size for number in range(count)}


@pytest.mark.parametrize(("given", "limit"), [(meta(33), "headers_given"), (meta(3, 4000), "headers_bytes")])
def test_headers_for_the_agent_are_bounded(house: House, given: dict[str, str | None], limit: str) -> None:
    answer = house.ask(post("a", b"1", **given))
    assert (answer.status, answer.problem) == (400, "invalid-header")
    assert house.site.counters.table()[limit] == 1
    assert house.ask(post("a", b"1", **meta(32))).status == 200


def test_a_message_that_is_under_way_too_long_is_ended(build: Build) -> None:
    house = build(limits=Limits(message_seconds=3.0))
    agent = join(house)
    agent.send(frame(b"begun", TEXT, fin=False))
    house.pass_time(2.8)
    assert agent.frames() == []
    house.pass_time(0.4)
    assert agent.close_code() == 4004
    assert house.site.counters.table()["message_seconds"] == 1


def test_no_more_of_a_batch_is_read_while_many_bytes_are_undecided(make: Callable[..., Relay]) -> None:
    relay = make(undecided_bytes=1000)
    agent = relay.agent("a")
    line = json.dumps({"agent": "a", "payload": "x" * 400}).encode() + b"\n"
    body = line * 20
    headers = {"content_type": "application/x-ndjson", "content_length": str(len(body))}
    relay.begin(request("POST", "/v1/messages", b"", **headers) + body)
    assert len(agent.messages()) == 3
    agent.ack_all()
    relay.settle()
    assert len(agent.messages()) > 3
