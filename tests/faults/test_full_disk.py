"""A disk that fills up under a running relay, and is emptied again: what is new waits outside, what is queued drains.

The disk is filled by a file of our own, and the mark of free space put in the middle of it: so it is the real disk that
is asked, and no other program is disturbed. What others do to the disk meanwhile is less than half of that file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.conftest import join, start  # noqa: F401 - fixtures, used by their names
from tests.e2e.door import Answer, get, post
from tests.e2e.support import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.faults]
BALLAST = 1 << 30
QUEUED = 200
TRIES = 20


@pytest.fixture
def ballast(tmp_path: Path) -> Iterator[Path]:
    """Where the file goes that fills the disk."""
    path = tmp_path / "ballast"
    yield path
    path.unlink(missing_ok=True)


def fill(path: Path) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, BALLAST)


def until(relay: Daemon, wanted: str, standing: str) -> Answer:
    """POST to nobody until that is the outcome. ``standing`` is queued, and is asked for to let a second pass."""
    for _ in range(TRIES):
        answer = post(relay.port, "nobody", "1")
        if answer.outcome == wanted:
            return answer
        assert get(relay.port, f"/v1/messages/{standing}", {"Prefer": "wait=1"}).json["status"] == "queued"
    raise AssertionError(f"{answer.outcome}, and never {wanted}")


def test_a_full_disk_is_drained_and_taken_up_again_when_there_is_room(
    start: Callable[..., Daemon],  # noqa: F811 - the fixture
    join: Callable[..., Agent],  # noqa: F811 - the fixture
    tmp_path: Path,
    ballast: Path,
) -> None:
    mark = shutil.disk_usage(tmp_path).free - BALLAST // 2
    relay = start("--store-min-free", str(mark))
    standing = post(relay.port, "somebody", "0").json["id"]
    kept = [post(relay.port, "desk", str(number)).json["id"] for number in range(QUEUED)]

    fill(ballast)
    refused = until(relay, "503 store-unavailable", standing)
    assert int(refused.headers["retry-after"]) > 0
    assert get(relay.port, "/readyz").problem == "store-unavailable"

    desk = join(relay, "desk", acknowledge)
    assert [message["id"] for message in desk.take(QUEUED)] == kept
    for id in kept:
        assert get(relay.port, f"/v1/messages/{id}", {"Prefer": "wait=20"}).json["status"] == "delivered"
    assert get(relay.port, "/v1/agents/desk").json["queued"] == 0
    assert post(relay.port, "desk", '"direct"', wait=10).outcome == "delivered"
    assert post(relay.port, "nobody", "1").outcome == "503 store-unavailable"

    ballast.unlink()
    until(relay, "queued: away", standing)
    assert get(relay.port, "/readyz").status == 200
    relay.kill()
    relay.start()
    assert get(relay.port, "/v1/agents/desk").json["queued"] == 0
    assert get(relay.port, "/v1/agents/nobody").json["queued"] >= 1
    join(relay, "desk").nothing_more()
