"""The command line as a person types it: real processes, a real relay. The examples of the library run here too."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent
from tests.e2e.support import ROOT, Daemon, Output, clean_environment
from tests.e2e.wire import Wire

pytestmark = pytest.mark.e2e

Join = Callable[..., Agent]
OpenWire = Callable[..., Wire]
RELAY = [sys.executable, "-m", "relay.client"]
LIMIT = 30.0  #: seconds for anything


class Running:
    """A command that goes on: what it has printed so far, and its end."""

    def __init__(self, line: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            line,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.output = Output(self.process)

    def see(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed such a line."""
        return self.output.wait_for(pattern, LIMIT)

    def end(self, number: signal.Signals | None = None) -> int:
        """Send it a signal, wait for its end; the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        self.output.finish()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        self.output.finish()


class Terminal:
    """Where somebody types, with the relay named in the environment."""

    def __init__(self, relay: Daemon) -> None:
        self.relay = relay
        self.environment = clean_environment({"RELAY_URL": relay.url})
        self.started: list[Running] = []

    def type(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command, and wait for its end."""
        line = [*RELAY, *arguments]
        return subprocess.run(
            line, env=self.environment, input=stdin, capture_output=True, encoding="utf-8", timeout=LIMIT
        )

    def start(self, *line: str) -> Running:
        """Start a program that goes on; it is ended after the test."""
        self.started.append(Running([*line], self.environment))
        return self.started[-1]

    def listen(self, *arguments: str) -> Running:
        """Start ``relay listen``, and wait until it listens."""
        listener = self.start(*RELAY, "listen", *arguments)
        listener.see("listening as")
        return listener


@pytest.fixture
def terminal(shared: Daemon) -> Iterator[Terminal]:
    """A terminal at the relay that the tests of this module share: each has agents of its own."""
    terminal = Terminal(shared)
    yield terminal
    for command in terminal.started:
        command.close()


def test_queued_drained_delivered(terminal: Terminal) -> None:
    sent = terminal.type("send", "drained", "first")
    assert sent.returncode == 3
    assert re.fullmatch(r"queued for drained \([0-9a-f-]{36}\): drained is away.*\n", sent.stdout)
    listener = terminal.listen("drained", "--count", "2")
    listener.see(r"listening as drained at .* \(1 waiting\)")
    listener.see("^first$")
    sent = terminal.type("send", "drained", stdin="zweitens: é 你 😀")
    assert (sent.returncode, sent.stdout[:9], sent.stderr) == (0, "delivered", "")
    assert listener.end() == 0
    assert listener.output.lines[-1] == "zweitens: é 你 😀"


def test_json_goes_through_without_a_digit_lost(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "numbers.json").write_text('{"n": -0.0,\n "long": ' + "7" * 5000 + "}")
    listener = terminal.listen("digits", "--json", "--count", "1")
    answer = terminal.type("send", "digits", "--file", str(tmp_path / "numbers.json"), "--json")
    assert answer.returncode == 0
    assert listener.end() == 0
    line = listener.output.lines[-1]
    assert '"payload":{"n": -0.0,  "long": ' + "7" * 5000 + "}" in line
    assert json.loads(answer.stdout)["id"] in line


def test_a_program_gets_each_message_on_its_standard_input(terminal: Terminal) -> None:
    command = 'echo "$RELAY_AGENT $RELAY_CONTENT_TYPE $RELAY_ATTEMPT $(cat)"'
    listener = terminal.listen("program", "--exec", command, "--count", "1")
    sent = terminal.type("send", "program", "$(touch /nothing); `ls`", "--json")
    assert json.loads(sent.stdout)["status"] == "delivered"
    assert listener.end() == 0
    assert listener.output.lines[-1] == "program text/plain; charset=utf-8 1 $(touch /nothing); `ls`"


def test_a_program_that_fails_gets_the_message_again(terminal: Terminal) -> None:
    command = 'echo "try $RELAY_ATTEMPT"; test "$RELAY_ATTEMPT" -gt 1 || exit 7'
    listener = terminal.listen("failing", "--exec", command, "--count", "1")
    assert json.loads(terminal.type("send", "failing", "hello", "--json").stdout)["reason"] == "nacked"
    assert listener.end() == 0
    assert [line for line in listener.output.lines if "try" in line] == ["try 1", "try 2"]


def test_a_program_that_takes_longer_than_the_redelivery_gets_the_message_once(terminal: Terminal) -> None:
    command = 'echo "try $RELAY_ATTEMPT"; sleep 2.5'
    listener = terminal.listen("slow", "--exec", command, "--ack-wait", "1", "--count", "1")
    terminal.type("send", "slow", "hello", "--async")
    assert listener.end() == 0
    assert [line for line in listener.output.lines if "try" in line] == ["try 1"]
    assert re.search(r"slow +away +0 ", terminal.type("agents").stdout)


def test_a_program_that_is_ended_takes_with_it_what_it_has_started(terminal: Terminal) -> None:
    listener = terminal.listen("ended", "--exec", "sleep 600 & echo child $!; wait", "--timeout", "1")
    # It is given back after a second: by then the program was told to end.
    assert json.loads(terminal.type("send", "ended", "hello", "--wait", "20", "--json").stdout)["reason"] == "nacked"
    child = int(listener.see(r"child (\d+)")[1])
    assert listener.end(signal.SIGTERM) == 0
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_message_in_hand_be_finished(terminal: Terminal, number: signal.Signals) -> None:
    agent = f"stopped-{number.name}"
    listener = terminal.listen(agent, "--exec", "echo begun; sleep 1; echo done")
    terminal.type("send", agent, "hello", "--wait", "0")
    listener.see("begun")
    assert listener.end(number) == 0
    assert listener.output.lines[-1] == "done"
    assert "Traceback" not in listener.output.text()
    assert re.search(rf"{agent} +away +0 ", terminal.type("agents").stdout)


def test_it_comes_back_after_the_relay_was_killed_and_says_why(relay: Daemon) -> None:
    terminal = Terminal(relay)
    listener = terminal.listen("desk-1", "--count", "1")
    try:
        relay.kill()
        listener.see(r"relay: the connection was lost.*; trying again in \d+\.\d s")
        assert terminal.type("send", "desk-1", "hello").returncode == 1
        relay.start()
        assert terminal.type("send", "desk-1", "hello").returncode in (0, 3)
        assert listener.end() == 0
    finally:
        listener.close()
    assert listener.output.lines[-1] == "hello"


def test_a_second_listener_is_told_who_was_there_before(terminal: Terminal) -> None:
    terminal.listen("wanted")
    late = terminal.start(*RELAY, "listen", "wanted")
    late.see(r"another connection holds this agent \(4000\): .*relay listen.*; trying again in [6-9]\d\.\d s")
    assert late.end(signal.SIGTERM) == 0


def test_agents_are_listed(terminal: Terminal) -> None:
    terminal.type("send", "list-b", "hello")
    terminal.listen("list-a")
    heading, first, second = terminal.type("agents", "--prefix", "list-").stdout.splitlines()
    assert heading.split()[:3] == ["AGENT", "STATE", "QUEUED"]
    assert re.match(r"list-a +connected +0 +0 ", first)
    assert re.match(r"list-b +away +1 +0 ", second)
    away = terminal.type("agents", "--json", "--away", "--prefix", "list-").stdout.splitlines()
    assert [json.loads(line)["agent"] for line in away] == ["list-b"]


def test_serve_starts_the_relay(tmp_path: Path) -> None:
    line = [*RELAY, "serve", "--listen", "tcp:0:interface=127.0.0.1"]
    with Daemon(tmp_path, command=line) as daemon:
        assert daemon.terminate() == 0
    assert (tmp_path / "relay.db").exists()
    assert not (tmp_path / "twistd.pid").exists()


def test_the_examples_of_the_library_do_what_they_say(terminal: Terminal) -> None:
    agent = terminal.start(sys.executable, str(ROOT / "examples/agent.py"), terminal.relay.url, "example")
    agent.see("registered as example, 0 waiting")
    publish = [sys.executable, str(ROOT / "examples/publish.py"), terminal.relay.url, "example"]
    for text, printed in (("Guten Morgen", "delivered"), (" ", "refused: there is nothing to print")):
        publisher = terminal.start(*publish, text)
        publisher.end()
        assert publisher.output.lines[-1].startswith(printed)
    assert agent.end(signal.SIGINT) == 0
    assert "Guten Morgen" in agent.output.lines


def test_a_message_is_looked_at_and_taken_back(terminal: Terminal) -> None:
    sent = json.loads(terminal.type("send", "looked", "hello", "--json").stdout)
    status = terminal.type("status", sent["id"])
    assert (status.returncode, status.stdout.split()[0]) == (3, "queued")
    assert sent["id"] in terminal.type("queue", "looked").stdout
    assert terminal.type("cancel", sent["id"]).returncode == 0
    assert terminal.type("status", sent["id"]).stdout.startswith("cancelled for looked")
    assert "too-late" in terminal.type("cancel", sent["id"]).stderr
    terminal.type("send", "looked", "again")
    assert terminal.type("queue", "looked", "--empty").stdout == "1 cancelled\n"


def test_a_dead_letter_is_sent_again(terminal: Terminal) -> None:
    listener = terminal.start(sys.executable, str(ROOT / "examples/agent.py"), terminal.relay.url, "picky")
    listener.see("registered as picky")
    terminal.type("send", "picky", " ")
    letters = terminal.type("dead", "list", "--json").stdout.splitlines()
    letter = next(found for found in map(json.loads, letters) if found["agent"] == "picky")
    assert letter["reason"] == "rejected"
    assert listener.end(signal.SIGINT) == 0
    assert terminal.type("dead", "requeue", letter["id"]).returncode == 0
    assert terminal.listen("picky", "--count", "1").end() == 0
    assert terminal.type("dead", "remove", letter["id"]).returncode == 1


def test_events_are_watched_and_an_agent_is_disconnected(terminal: Terminal) -> None:
    watching = terminal.start(*RELAY, "events", "--agent", "watched", "--count", "2")
    watching.see("watching")
    terminal.listen("watched")
    assert terminal.type("disconnect", "watched").stdout == "watched is disconnected\n"
    assert watching.end() == 0
    assert [line.split()[1] for line in [*watching.output.lines][1:]] == ["agent.connected", "agent.disconnected"]


def test_an_agent_may_poll(terminal: Terminal) -> None:
    terminal.type("send", "polled", "first")
    listener = terminal.listen("polled", "--poll", "--count", "2")
    listener.see("^first$")
    assert terminal.type("send", "polled", "second", "--wait", "20").returncode == 0
    assert listener.end() == 0
    assert listener.output.lines[-1] == "second"
    assert re.search(r"polled +\w+ +0 +0 ", terminal.type("agents").stdout)


def test_a_batch_that_is_typed_again_is_not_sent_twice(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "orders"
    file.write_text("".join(f'{{"agent": "batched", "payload": {n}, "wait": 0}}\n' for n in range(300)))
    for _ in range(2):
        sent = terminal.type("send", "--batch", str(file))
        assert (sent.returncode, sent.stdout) == (3, "300 lines: 300 queued\n")
    assert len(terminal.type("queue", "batched", "--json").stdout.splitlines()) == 300


def on_a_screen(command: list[str], environment: dict[str, str], columns: int) -> tuple[int, str, str]:
    """Run it with a terminal of that width for its standard error: exit code, standard output, what was drawn."""
    screen, its_end = os.openpty()
    termios.tcsetwinsize(its_end, (24, columns))
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": its_end}
    drawn = b""
    with os.fdopen(screen, "rb", 0) as terminal:
        with subprocess.Popen(command, env=environment, **pipes) as process:
            os.close(its_end)
            with suppress(OSError):  # EIO: nobody has the other end any more
                while select.select([terminal], [], [], LIMIT)[0] and (piece := terminal.read(65536)):
                    drawn += piece
            printed, _ = process.communicate(timeout=LIMIT)
        return process.returncode, printed.decode(), drawn.decode()


@pytest.mark.parametrize("columns", [80, 30])
def test_a_batch_shows_on_a_terminal_how_far_it_is_and_wipes_that_away(
    terminal: Terminal, join: Join, tmp_path: Path, columns: int
) -> None:
    file = tmp_path / "orders.ndjson"
    mute = join(terminal.relay, f"mute-{columns}")
    # The last of them to be decided is decided late enough to be drawn.
    lines = [f'{{"agent": "{mute.name}", "payload": 0, "wait": 1}}']
    file.write_text("\n".join([*lines, *(f'{{"agent": "nobody", "payload": {n}, "wait": 0}}' for n in range(99))]))
    command = [*RELAY, "send", "--batch", str(file)]
    code, printed, drawn = on_a_screen(command, terminal.environment, columns)
    assert (code, printed) == (3, "100 lines: 100 queued\n")
    shown = re.findall(r"\r([^\r\x1b]*)\x1b\[K", drawn)
    assert "".join(f"\r{line}\x1b[K" for line in shown) == drawn
    *_, last, wiped = shown
    assert re.fullmatch(r"(\[#{20}\]  )?100%  [0-9,]+/s  100 (queued|lines)", last), last
    assert last.startswith("[") == (columns == 80)
    assert wiped == ""
    assert max(map(len, shown)) < columns
    assert terminal.type("send", "--batch", str(file)).stderr == ""


def test_the_code_of_the_page_about_clients_does_what_it_says(terminal: Terminal, open_wire: OpenWire) -> None:
    program = terminal.start(sys.executable, "-u", "-m", "tests.e2e.clients_page", terminal.relay.url)
    program.see("^Good morning$")
    program.see("^delivered None [0-9a-f-]{36}$")
    program.see(r"^fate \('delivered', b'', \['accepted', 'sent', 'delivered'\]\)$")
    program.see("^order-1 queued$")
    program.see(r"^exactly \[Decimal\('1.10'\), Decimal\('12345678901234567890'\)\]$")
    program.see("^hello$")
    program.see(r"^Answer\(.* status='delivered'")
    program.see("^till 1 20")
    program.see("^ hello None ")  # the stream of events has begun
    wire = open_wire(terminal.relay)
    wire.say(type="register", agent="desk-1", client="the second")
    program.see("^20.* agent.conflict desk-1 .*the second")
