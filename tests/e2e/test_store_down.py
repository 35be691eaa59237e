"""A disk that fails, from outside: what can be delivered is, and nothing is promised that was not kept (protocol 2.3).

``prlimit`` sets the largest file that the running relay may write: from that moment each write to the database fails as
on a broken disk. A free-space mark above what any disk has makes the disk too full.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import Answer, get, post
from tests.e2e.support import Daemon

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
Posting = Callable[..., Future[Answer]]
Starter = Callable[..., Daemon]


def break_the_disk(relay: Daemon) -> None:
    """No file may grow or be written any more."""
    _, hard = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (0, hard))


def test_a_failed_write_is_said_and_the_restart_reads_what_is_there(
    start: Starter, join: Join, posting: Posting
) -> None:
    relay = start()
    relay.foreseen = re.compile("the store")
    kept = [post(relay.port, "desk", str(number)).json["id"] for number in range(5)]
    witness = join(relay, "witness")
    in_flight = posting(relay, "witness", '"sent"', wait=2)
    sent = witness.next()
    break_the_disk(relay)
    answer = post(relay.port, "desk", '"lost?"')
    assert (answer.status, answer.problem) == (503, "store-unavailable")
    unknown = in_flight.result()
    assert (unknown.status, unknown.problem) == (503, "store-unavailable")
    assert (unknown.json["id"], unknown.json["sent"]) == (sent["id"], True)
    assert witness.ended().code == 1001
    assert relay.wait() not in (0, -9)

    relay.start()
    returned = join(relay, "desk", acknowledge)
    assert [message["id"] for message in returned.take(5)] == kept
    assert post(relay.port, "desk", '"again"', wait=10).outcome == "delivered"


def test_below_the_free_space_mark_only_what_needs_the_disk_is_refused(start: Starter, join: Join) -> None:
    relay = start()
    kept = [post(relay.port, "desk", str(number)).json["id"] for number in range(5)]
    relay.terminate()
    relay.environment["RELAY_STORE_MIN_FREE"] = str(1 << 60)
    relay.start()
    refused = post(relay.port, "away", '"no room"')
    assert (refused.status, refused.problem) == (503, "store-unavailable")
    assert "sent" not in refused.json
    agent = join(relay, "desk", acknowledge)
    assert [message["id"] for message in agent.take(5)] == kept
    assert post(relay.port, "desk", '"direct"', wait=10).outcome == "delivered"
    assert post(relay.port, "desk", '"to be kept"', wait=0).problem == "store-unavailable"
    assert get(relay.port, "/v1/agents/desk").json["queued"] == 0
