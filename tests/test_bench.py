"""The benchmark in small: what it counts, never how long that took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from bench import chaos, floor
from bench.__main__ import measure
from bench.gate import falls
from bench.job import Job, Sample, Sizes
from bench.page import BEGIN, END, PAGE, renew
from bench.plot import bars, draw
from bench.report import Result, Run
from bench.tally import Budget
from bench.targets import TARGETS
from bench.wire import Answer, Chunks, ack, masked, take_answer, take_frames, take_head
from bench.workloads import WORKLOADS
from tests.support_system import needs

SMALL = Sizes(
    agents=5,
    publishers=(1, 3),
    under_way=(2, 7),
    batch=16,
    messages=40,
    warm_up=6,
    drained=30,
    drained_peer=20,
    idle=30,
    settle=0.0,
    heartbeat=0.0,
    storm=30,
    timed=40,
    steps=2,
    step=30,
    # Counts end a measurement here, never the clock.
    seconds=60.0,
    warm_up_seconds=60.0,
    timed_seconds=60.0,
    deadline=60.0,
)

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nCONTENT-LENGTH: 2\r\n\r\n{}"


def counted(server: str, workload: str) -> Sample:
    """One round; what it must not have is seen here already."""
    if server == "peer":
        needs("node", "npm")
    (sample,) = measure(workload, [server], SMALL, rounds=1).samples[server]
    assert sample.other == sample.retries == {}
    return sample


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("workload", "server", "posted", "acked", "registered"),
    [
        ("a", "relay", 2 * 46, 2 * 46, 5),
        ("a", "peer", 2 * 46, 2 * 46, 5),
        ("b", "relay", 3 * 46, 3 * 46, 5),
        ("b", "peer", 46, 46, 5),
        ("c", "relay", 3 * 46, 0, 0),
        ("c", "peer", 2 * 46, 0, 0),
        ("d", "relay", 4 * 30, 4 * 30, 0),
        ("d", "peer", 2 * 20, 2 * 20, 0),
        ("e", "relay", 0, 0, 30),
        ("e", "peer", 0, 0, 30),
        ("h", "relay", 3 * 30, 2 * 30, 0),
    ],
)
def test_every_message_is_answered_and_acknowledged_once(
    workload: str, server: str, posted: int, acked: int, registered: int
) -> None:
    counts = {"posted": posted, "settled": posted, "acked": acked, "registered": registered}
    assert counted(server, workload).counts == counts


@pytest.mark.e2e
@pytest.mark.parametrize("server", ["relay", "peer"])
def test_all_agents_come_back_and_others_get_their_messages_meanwhile(server: str) -> None:
    sample = counted(server, "f")
    counts = sample.counts
    assert counts["registered"] == 30 + 5
    assert counts["posted"] == counts["settled"] == counts["acked"] >= 1
    assert sample.figures["broken"] == sample.figures["refused"] == 0


@pytest.mark.e2e
@pytest.mark.parametrize("case", ["no plugin", "rubbish"])
def test_others_are_delivered_to_beside_a_plugin_that_goes_wrong(case: str) -> None:
    _, tally = chaos.measure(case, SMALL)
    assert (tally.settled, tally.other) == (46, {})


@pytest.mark.e2e
def test_the_least_that_twisted_can_do_is_measured_like_the_others() -> None:
    assert floor.trip("bare Twisted", msgspec.structs.replace(SMALL, publishers=(3,))) > 0


@pytest.mark.e2e
@pytest.mark.parametrize("server", ["relay", "peer"])
def test_at_half_load_every_message_is_delivered(server: str) -> None:
    counts = counted(server, "g").counts
    trips = 46 + (40 if server == "peer" else 80)
    assert counts["acked"] == trips
    assert counts["settled"] == counts["posted"] >= trips


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


def test_a_long_frame_is_masked_too() -> None:
    for size in (126, 65_535, 65_536):
        payload = bytes(at % 251 for at in range(size))
        frame = masked(1, payload)
        start = 4 if size < 65_536 else 10
        assert int.from_bytes(frame[2:start], "big") == size
        key, hidden = frame[start : start + 4], frame[start + 4 :]
        assert bytes(byte ^ key[at % 4] for at, byte in enumerate(hidden)) == payload


def test_one_ack_speaks_of_one_message_or_of_several() -> None:
    assert len(ack(["a"])) == 6 + len('{"type":"ack","id":"a"}')
    assert len(ack(["a", "b"])) == 6 + len('{"type":"ack","ids":["a","b"]}')


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n8\r\ntwo\nthre\r\n2\r\ne\n\r\n0\r\n\r\n"


def test_an_answer_in_chunks_is_read_wherever_it_is_cut() -> None:
    for at in range(len(CHUNKED) + 1):
        head, rest = take_head(CHUNKED[:at])
        chunks, body = Chunks(), b""
        if head is None:
            head, rest = take_head(rest + CHUNKED[at:])
            body += chunks.feed(rest)
        else:
            body += chunks.feed(rest) + chunks.feed(CHUNKED[at:])
        assert head is not None
        assert head.status == 200
        assert body == b"one\ntwo\nthree\n"
        assert chunks.ended
        assert chunks.rest == b""


def test_an_answer_that_does_not_come_in_chunks_is_not_taken_for_a_batch() -> None:
    with pytest.raises(ValueError, match="chunks"):
        take_head(ANSWER)


def test_a_budget_is_spent_when_the_last_answer_has_come() -> None:
    budget = Budget(left=5)
    assert [budget.take(3), budget.take(3), budget.take(3)] == [3, 2, 0]
    budget.decided(4)
    assert not budget.spent
    budget.decided()
    assert budget.spent


def test_two_acts_make_one_sample() -> None:
    first = Sample({"a": 1.0}, {"x": 1}, {}, {"posted": 3})
    later = Sample({"b": 2.0}, {"x": 2}, {"y": 1}, {"posted": 4})
    assert first + later == Sample({"a": 1.0, "b": 2.0}, {"x": 3}, {"y": 1}, {"posted": 7})


def test_a_job_is_understood_on_the_other_side() -> None:
    job = Job("a", SMALL, "relay", 80, 1)
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job


def ran(workload: str = "e", **by_server: list[float]) -> Run:
    """A run of one workload, in which every figure of a server came to these values, round by round."""
    keys = {each.key for each in WORKLOADS[workload].figures} | {each.against for each in WORKLOADS[workload].figures}
    samples = {name: [Sample(dict.fromkeys(keys, value)) for value in values] for name, values in by_server.items()}
    return Run(dict(ABOUT), {workload: Result(workload, Sizes(), samples)})


ABOUT = dict.fromkeys(("when", "commit", "cores", "processor", "kernel", "python", "node", "load"), "x")


def test_the_relay_is_held_against_the_peer_of_the_same_round() -> None:
    result = ran(relay=[10.0, 40.0, 90.0], peer=[10.0, 20.0, 30.0]).results["e"]
    assert result.ratios(result.figures[0]) == [1.0, 2.0, 3.0]
    assert result.summary()["ratio"]["bytes"] == {"min": 1.0, "median": 2.0, "max": 3.0}


def test_the_relay_alone_has_no_ratio() -> None:
    result = ran(relay=[10.0]).results["e"]
    assert result.summary()["ratio"] == {}
    assert "relay / peer" not in result.text()


def test_what_went_wrong_stands_beside_the_figures() -> None:
    run = ran(relay=[10.0])
    run.results["e"].samples["relay"][0].other["queued"] = 3
    assert "3 x queued" in run.results["e"].text()
    assert "At the relay: 3 x queued." in renew(f"{BEGIN}{END}", run)


def test_figures_that_were_written_are_read_again(tmp_path: Path) -> None:
    run = ran(relay=[10.0, 20.0], peer=[10.0, 20.0])
    run.write(tmp_path / "figures.json")
    assert Run.read(tmp_path / "figures.json") == run


@pytest.mark.parametrize(
    ("workload", "now", "worse"),
    [("a", 86.0, False), ("a", 84.0, True), ("a", 200.0, False), ("e", 117.0, False), ("e", 119.0, True)],
)
def test_the_gate_lets_a_ratio_vary_by_its_margin_and_no_further(workload: str, now: float, worse: bool) -> None:
    landed = ran(workload, relay=[100.0], peer=[100.0])
    assert bool(falls(landed, ran(workload, relay=[now], peer=[100.0]))) is worse


def test_the_gate_says_what_is_worse() -> None:
    (sentence,) = falls(ran(relay=[100.0], peer=[100.0]), ran(relay=[200.0], peer=[100.0]))
    assert sentence.startswith("(e) bytes per agent: 2.00 of the peer's, where 1.00 was landed: 50% worse")


def test_a_processor_that_is_slower_for_both_does_not_close_the_gate() -> None:
    assert not falls(ran("a", relay=[100.0], peer=[50.0]), ran("a", relay=[10.0], peer=[5.0]))


def test_figures_in_other_sizes_are_not_held_against_each_other() -> None:
    other = ran(relay=[200.0], peer=[100.0])
    other.results["e"].sizes = SMALL
    assert not falls(ran(relay=[100.0], peer=[100.0]), other)


def test_only_what_the_wall_clock_has_no_part_in_is_gated() -> None:
    gated = {each.key.rpartition(".")[2] for workload in WORKLOADS.values() for each in workload.figures if each.gated}
    assert gated == {"per_cpu_second", "bytes", "cpu_ms"}
    assert all(each.against for workload in WORKLOADS.values() for each in workload.figures if each.gated)


def test_every_target_names_a_figure() -> None:
    for target in TARGETS:
        keys = {each.key for each in WORKLOADS[target.workload].figures}
        assert {target.key, target.over or target.key} <= keys


def test_new_figures_take_the_place_of_the_old_and_of_nothing_else() -> None:
    run = ran(relay=[10.0, 40.0, 90.0], peer=[10.0, 20.0, 30.0])
    page = renew(f"before\n{BEGIN}old\n{END}after\n", run)
    assert page.startswith(f"before\n{BEGIN}")
    assert page.endswith(f"{END}after\n")
    assert "old" not in page
    assert "| 10 · **40** · 90 | 10 · **20** · 30 | 1.00 · **2.00** · 3.00 |" in page
    assert "| e | bytes of memory an idle agent | 6,144 | 3,072 | 40 | aim reached |" in page
    assert "| e | heartbeat of all, % of a core | 3.00 |  | 40.00 | **not reached** |" in page
    assert renew(page, run) == page


def test_a_page_without_a_place_for_figures_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no lines"):
        renew("before\nafter\n", ran(relay=[10.0]))


def test_the_page_on_performance_has_a_place_for_figures() -> None:
    assert renew(PAGE.read_text(encoding="utf-8"), ran(relay=[10.0]))


def test_a_bar_says_how_many_times_as_good_as_the_peer_the_relay_is() -> None:
    (more, *_) = bars(ran("a", relay=[20.0, 30.0], peer=[10.0, 10.0]))
    assert (more.low, more.middle, more.high) == (2.0, 2.5, 3.0)
    (less,) = bars(ran("e", relay=[20.0, 40.0], peer=[10.0, 10.0]))
    assert (less.low, less.middle, less.high) == (0.25, 0.375, 0.5)


def test_the_picture_is_drawn_in_both_forms_and_the_same_each_time(tmp_path: Path) -> None:
    run = ran("a", relay=[20.0, 30.0], peer=[10.0, 40.0])
    draw(run, tmp_path / "one")
    draw(run, tmp_path / "two")
    for suffix, magic in ((".svg", b"<?xml"), (".png", b"\x89PNG")):
        first, second = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("one", "two"))
        assert first.startswith(magic)
        assert first == second
    assert "32 publishers: round trips per CPU second" in (tmp_path / "one.svg").read_text()
