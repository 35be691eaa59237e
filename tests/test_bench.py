"""The benchmark in small: what it counts, never how long that took."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bench.__main__ import measure
from bench.page import BEGIN, END, PAGE, renew
from bench.report import Result
from bench.wire import Answer, masked, take_answer, take_frames
from bench.workloads import WORKLOADS, Sample, Sizes
from tests.support_system import needs

SMALL = Sizes(publishers=4, agents=5, warm_up=6, trips=40, storm=30, idle=30, settle=0.0, deadline=60.0)

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nCONTENT-LENGTH: 2\r\n\r\n{}"


def samples(server: str, workload: str) -> list[Sample]:
    if server == "peer":
        needs("node", "npm")
    return measure(workload, [server], SMALL, rounds=1).samples[server]


@pytest.mark.e2e
@pytest.mark.parametrize("server", ["relay", "peer"])
def test_every_post_is_delivered_and_counted_once(server: str) -> None:
    (sample,) = samples(server, "a")
    counts = {key: sample.figures[key] for key in ("posted", "acked", "delivered")}
    assert counts == {"posted": 46, "acked": 46, "delivered": 46}
    assert sample.other == sample.retries == {}


@pytest.mark.e2e
@pytest.mark.parametrize("workload", ["b", "c"])
@pytest.mark.parametrize("server", ["relay", "peer"])
def test_every_agent_is_registered(server: str, workload: str) -> None:
    (sample,) = samples(server, workload)
    assert sample.figures["registered"] == 30
    assert sample.other == sample.retries == {}


@dataclass
class Pieces:
    """What was read from bytes that came in two pieces."""

    frames: list[tuple[int, bytes]]
    answers: list[Answer]


def cut(data: bytes, at: int) -> Pieces:
    pieces, frame_rest, answer_rest = Pieces([], []), b"", b""
    for piece in (data[:at], data[at:]):
        frames, frame_rest = take_frames(frame_rest + piece)
        pieces.frames += frames
        answer, answer_rest = take_answer(answer_rest + piece)
        pieces.answers += [answer] if answer else []
    return pieces


def test_frames_are_read_wherever_they_are_cut() -> None:
    long = b"x" * 300
    data = b"\x81\x02hi" + b"\x81\x7e\x01\x2c" + long + b"\x89\x00" + b"\x82\x7f" + (70_000).to_bytes(8, "big")
    data += b"y" * 70_000
    for at in range(330):
        assert cut(data, at).frames == [(1, b"hi"), (1, long), (9, b""), (2, b"y" * 70_000)]


def test_a_fragment_is_not_taken_for_a_frame() -> None:
    with pytest.raises(ValueError, match="fragment"):
        take_frames(b"\x01\x02hi")


def test_an_answer_is_read_wherever_it_is_cut() -> None:
    for at in range(len(ANSWER) + 1):
        assert [(each.status, each.body) for each in cut(ANSWER, at).answers] == [(200, b"{}")]


def test_an_answer_of_unknown_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        take_answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")


@pytest.mark.parametrize("size", [0, 1, 4, 7, 125])
def test_a_masked_frame_gives_back_its_payload(size: int) -> None:
    payload = bytes(range(size))
    frame = masked(1, payload)
    key = frame[2:6]
    assert frame[:2] == bytes((0x81, 0x80 | size))
    assert bytes(byte ^ key[at % 4] for at, byte in enumerate(frame[6:])) == payload


def ran(**by_server: list[float]) -> Result:
    keys = [figure.key for figure in WORKLOADS["c"].figures]
    samples = {
        name: [Sample(dict.fromkeys(keys, value), {}, {}) for value in values] for name, values in by_server.items()
    }
    return Result("c", Sizes(), samples)


def test_the_relay_is_held_against_the_peer_of_the_same_round() -> None:
    result = ran(relay=[10.0, 40.0, 90.0], peer=[10.0, 20.0, 30.0])
    assert result.ratios("bytes") == [1.0, 2.0, 3.0]
    assert result.document()["ratio"] == {"bytes": {"min": 1.0, "median": 2.0, "max": 3.0}}


def test_the_relay_alone_has_no_ratio() -> None:
    result = ran(relay=[10.0])
    assert "ratio" not in result.document()
    assert "relay / peer" not in result.text()


def test_what_went_wrong_stands_beside_the_figures() -> None:
    result = ran(relay=[10.0])
    result.samples["relay"][0].other["queued"] = 3
    assert "3 x queued" in result.text()


ABOUT = dict.fromkeys(("when", "commit", "cores", "processor", "kernel", "python", "node", "rounds", "load"), "x")


def test_new_figures_take_the_place_of_the_old_and_of_nothing_else() -> None:
    results = [ran(relay=[10.0, 40.0, 90.0], peer=[10.0, 20.0, 30.0])]
    page = renew(f"before\n{BEGIN}old\n{END}after\n", ABOUT, results)
    assert page.startswith(f"before\n{BEGIN}")
    assert page.endswith(f"{END}after\n")
    assert "old" not in page
    assert "| 10 · **40** · 90 | 10 · **20** · 30 | 1.00 · **2.00** · 3.00 |" in page
    assert renew(page, ABOUT, results) == page


def test_a_page_without_a_place_for_figures_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no lines"):
        renew("before\nafter\n", ABOUT, [ran(relay=[10.0])])


def test_the_page_on_performance_has_a_place_for_figures() -> None:
    assert renew(PAGE.read_text(encoding="utf-8"), ABOUT, [ran(relay=[10.0])])
