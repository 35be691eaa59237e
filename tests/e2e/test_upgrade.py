"""Frames that come straight after the upgrade, in its own segment: none is lost or reordered (protocol 2).

What follows the upgrade's head in its TCP segment has been read by the HTTP channel before there is a WebSocket. An
adapter that begins with the next read loses it, and only agents that are fast notice.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.door import converse, dial, get, post
from tests.e2e.support import Daemon
from tests.e2e.wire import Wire, text, upgrade

pytestmark = pytest.mark.e2e
OpenWire = Callable[..., Wire]


def test_one_frame_with_the_upgrade_is_read(shared: Daemon, open_wire: OpenWire) -> None:
    assert open_wire(shared, after=text(type="register", agent="one")).hear("registered")["agent"] == "one"


def test_three_frames_with_the_upgrade_are_read_in_order(shared: Daemon, open_wire: OpenWire) -> None:
    early = text(type="register", agent="three") + text(type="ping", ref="1") + text(type="ping", ref="2")
    wire = open_wire(shared, after=early)
    wire.hear("registered")
    assert [wire.hear("pong")["ref"] for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, 20, -1])
def test_half_a_frame_with_the_upgrade_is_joined_with_its_rest(shared: Daemon, open_wire: OpenWire, cut: int) -> None:
    whole = text(type="register", agent=f"half{cut}")
    wire = open_wire(shared, after=whole[:cut])
    assert get(shared.port, f"/v1/agents/half{cut}").status == 404
    wire.put(whole[cut:])
    wire.hear("registered")


def test_200_kb_with_the_upgrade_are_read_whole(shared: Daemon, open_wire: OpenWire) -> None:
    pings = [f"{number:04}" + "x" * 996 for number in range(200)]
    early = text(type="register", agent="flood") + b"".join(text(type="ping", ref=ref[:64]) for ref in pings)
    padding = text(type="ping", ref="end", padding="y" * (200_000 - len(early)))
    wire = open_wire(shared, after=early + padding)
    wire.hear("registered")
    assert [wire.hear("pong")["ref"] for _ in pings] == [ref[:64] for ref in pings]
    assert wire.hear("pong")["ref"] == "end"


def test_one_frame_of_200_kb_with_the_upgrade_is_read_whole(shared: Daemon, open_wire: OpenWire) -> None:
    early = text(type="register", agent="fat", padding="z" * 200_000)
    wire = open_wire(shared, after=early)
    assert wire.hear("registered")["agent"] == "fat"


def test_a_queue_is_drained_to_one_that_registers_with_the_upgrade(shared: Daemon, open_wire: OpenWire) -> None:
    ids = [post(shared.port, "eager", str(number)).json["id"] for number in range(5)]
    wire = open_wire(shared, after=text(type="register", agent="eager"))
    wire.hear("registered")
    assert [wire.hear("message")["id"] for _ in ids] == ids


def test_an_upgrade_that_comes_in_pieces_is_understood(shared: Daemon) -> None:
    with dial(shared.port) as line:
        for piece in batched(upgrade(shared.port) + text(type="register", agent="pieces"), 7):
            line.sendall(piece)
        taken = b""
        while b'"registered"' not in taken:
            taken += line.recv(4096)
    assert taken.startswith(b"HTTP/1.1 101 ")


def batched(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    "body", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}], ids=["with a length", "in chunks"]
)
def test_an_upgrade_with_a_body_is_refused(shared: Daemon, body: dict[str, str | None]) -> None:
    request = upgrade(shared.port, headers=body)
    answer = converse(shared.port, request + b"5\r\nhello\r\n0\r\n\r\n")
    assert answer.status == 400


def test_an_upgrade_by_post_or_by_http_1_0_is_refused(shared: Daemon) -> None:
    assert converse(shared.port, upgrade(shared.port, method="POST", headers={"Content-Length": "0"})).status == 400
    assert converse(shared.port, upgrade(shared.port, version="1.0")).status == 400


@pytest.mark.parametrize("left_out", ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"])
def test_an_incomplete_upgrade_is_refused(shared: Daemon, left_out: str) -> None:
    answer = converse(shared.port, upgrade(shared.port, headers={left_out: None}))
    assert answer.status in (400, 426)


def test_a_plain_get_is_told_to_upgrade(shared: Daemon) -> None:
    answer = get(shared.port, "/v1/connect")
    assert (answer.status, answer.problem, answer.headers["upgrade"]) == (426, "upgrade-required", "websocket")
