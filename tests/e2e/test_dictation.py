"""Real input: all that ``examples/dictation/corpus`` holds arrives byte for byte, directly and from the queue."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import post
from tests.e2e.support import ROOT, Daemon, Output, clean_environment

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
EXAMPLE = ROOT / "examples" / "dictation"
CORPUS = sorted(path for path in (EXAMPLE / "corpus").iterdir() if path.suffix in (".txt", ".json"))
TYPES = {".txt": "text/plain; charset=utf-8", ".json": "application/json"}
BLANKS = b" \t\r\n"


def said(path: Path) -> bytes:
    """What must arrive. Blanks around a JSON value are no part of the value, and a frame has no place for them."""
    data = path.read_bytes()
    return data.strip(BLANKS) if path.suffix == ".json" else data


def heard(path: Path, payload: bytes) -> bytes:
    """What did arrive, from the payload as it stands in the frame."""
    return payload if path.suffix == ".json" else json.loads(payload).encode()


def test_the_corpus_is_what_it_is_said_to_be() -> None:
    texts = [path.read_bytes().decode() for path in CORPUS]
    assert len(texts) >= 200
    assert min(map(len, texts)) == 1
    assert max(map(len, texts)) == 20_000
    scripts = {unicodedata.name(char, "NONE").split()[0] for text in texts for char in text}
    assert scripts >= {
        "LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "DEVANAGARI", "THAI",
    }  # fmt: skip
    assert any("\u200d" in text for text in texts)
    assert any(unicodedata.normalize("NFC", text) != text for text in texts)
    spoiled = [path.name for path in CORPUS if path.suffix == ".json" and spoils(path.read_bytes())]
    assert len(spoiled) >= 5


def spoils(data: bytes) -> bool:
    """Does it hold a number that comes back otherwise from a parser that makes floats of numbers?"""
    numbers: list[str] = []
    json.loads(data, parse_int=numbers.append, parse_float=numbers.append)
    return any(Decimal(number) != Decimal(repr(float(number))) for number in numbers)


def test_everything_is_delivered_directly_byte_for_byte(shared: Daemon, join: Join) -> None:
    agent = join(shared, "desk-direct", acknowledge)
    for path in CORPUS:
        answer = post(shared.port, agent.name, path.read_bytes(), content_type=TYPES[path.suffix], wait=20)
        assert answer.outcome == "delivered", path.name
        assert agent.next()["queued"] is False
        assert heard(path, agent.slices[-1]) == said(path), path.name


def test_everything_survives_the_queue_and_a_kill_byte_for_byte(start: Callable[..., Daemon], join: Join) -> None:
    relay = start()
    for path in CORPUS:
        answer = post(relay.port, "desk-queue", path.read_bytes(), content_type=TYPES[path.suffix])
        assert answer.outcome == "queued: away", path.name
    relay.kill()
    relay.start()
    agent = join(relay, "desk-queue", acknowledge)
    messages = agent.take(len(CORPUS))
    assert all(message["queued"] for message in messages)
    for path, message, payload in zip(CORPUS, messages, agent.slices, strict=True):
        assert message["content_type"] == TYPES[path.suffix]
        assert heard(path, payload) == said(path), path.name


@contextmanager
def desktop(relay: Daemon, *options: str) -> Iterator[Output]:
    """The desk of the example, listening; what it says is given."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "desktop.py"), "desk-1", "--url", relay.url, *options],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    output = Output(process)
    try:
        output.wait_for("listening as desk-1", 30)
        yield output
        process.terminate()
        assert process.wait(30) == 0, output.text()
    finally:
        process.kill()
        process.wait(10)
        output.finish()


def phone(relay: Daemon, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The phone of the example."""
    command = [sys.executable, str(EXAMPLE / "phone.py"), "desk-1", "--url", relay.url, *words]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, env=clean_environment())


def test_the_phone_and_the_desk_of_the_example_hand_over_everything(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    relay, notes = start(), tmp_path / "notes.txt"
    files = [word for path in CORPUS for word in ("--file", str(path))]
    half = len(files) // 4 * 2
    early = phone(relay, *files[:half])
    assert (early.returncode, set(early.stdout.split())) == (3, {b"queued"}), early.stderr
    with desktop(relay, "--to", str(notes)):
        late = phone(relay, *files[half:])
        assert (late.returncode, set(late.stdout.split())) == (0, {b"delivered"}), late.stderr
    assert notes.read_bytes() == b"".join(said(path) + b"\n" for path in CORPUS)


def test_the_desk_types_into_the_terminal_and_the_phone_takes_words_or_a_pipe(relay: Daemon) -> None:
    with desktop(relay) as screen:
        assert phone(relay, "Grüße", "aus", "Köln").stdout == b"delivered\n"
        assert phone(relay, stdin="naïve café".encode()).returncode == 0
    assert [line for line in screen.lines if line.startswith(("G", "n"))] == ["Grüße aus Köln", "naïve café"]


def test_the_phone_says_in_a_line_why_it_was_refused(relay: Daemon) -> None:
    refused = phone(relay, "--file", "/dev/null")
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"refused with 400: ")
    assert refused.stderr.count(b"\n") == 1


def test_the_desk_says_in_a_line_that_there_is_no_keyboard(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "desktop.py"), "desk-1", "--keyboard"]
    environment = clean_environment() | {"PATH": str(tmp_path)}
    found = subprocess.run(command, capture_output=True, timeout=60, env=environment)
    assert found.returncode == 1
    assert found.stderr.startswith(b"--keyboard needs one of xdotool, wtype")
