"""Clients that are not of this project: npm ``ws``, PyPI ``websockets``, curl."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import Answer, post
from tests.e2e.support import ROOT, Daemon, Output
from tests.support_system import needs

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
Posting = Callable[..., Future[Answer]]
HERE = Path(__file__).parent / "node"
SENTENCES = sorted((ROOT / "examples" / "dictation" / "corpus").glob("*.txt"))[::5]


@pytest.fixture(scope="session")
def node_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent on ``ws``, with what it needs, in a folder that later runs find again beside this Python's packages."""
    needs("node", "npm")
    cache = Path(sys.prefix) / "share" / "relay-tests" / "node"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = tmp_path_factory.mktemp("node")
    lock = (HERE / "package-lock.json").read_bytes()
    installed = cache / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, cache)
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=cache, check=True, timeout=180, capture_output=True
        )
        installed.write_bytes(lock)
    # A module is looked up from where the script lies, so the script has to lie there.
    return Path(shutil.copy(HERE / "agent.mjs", cache))


@contextmanager
def node(script: Path, relay: Daemon, agent: str) -> Iterator[Output]:
    """The agent on node, registered."""
    process = subprocess.Popen(
        ["node", str(script), relay.ws_url, agent],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    output = Output(process)
    try:
        yield output
    finally:
        process.kill()
        process.wait(10)
        output.finish()


def test_ws_on_node_gets_every_sentence(shared: Daemon, node_agent: Path) -> None:
    half = len(SENTENCES) // 2
    for path in SENTENCES[:half]:
        post(shared.port, "node", path.read_bytes(), content_type="text/plain; charset=utf-8")
    with node(node_agent, shared, "node") as output:
        output.wait_for(f"^registered {half}$", 30)
        for path in SENTENCES[half:]:
            body = path.read_bytes()
            answer = post(shared.port, "node", body, content_type="text/plain; charset=utf-8", wait=20)
            assert answer.outcome == "delivered"
            output.wait_for(f"^message {answer.json['id']} ", 10)
    found = [base64.b64decode(line.split()[2]) for line in output.lines if line.startswith("message ")]
    assert found == [path.read_bytes() for path in SENTENCES]


def test_ws_on_node_learns_that_it_was_replaced(shared: Daemon, node_agent: Path, join: Join) -> None:
    holder = join(shared, "node-twin", acknowledge)
    with node(node_agent, shared, "node-twin") as output:
        output.wait_for("^error duplicate$", 30)
        output.wait_for("^closed 4000$", 30)
    assert holder.end is None


def test_ws_on_node_is_told_of_a_shutdown(start: Callable[..., Daemon], node_agent: Path) -> None:
    relay = start()
    with node(node_agent, relay, "desk") as output:
        output.wait_for("^registered", 30)
        assert relay.terminate() == 0
        output.wait_for("^closed 1001$", 30)


@contextmanager
def registered(relay: Daemon, agent: str) -> Iterator[ClientConnection]:
    """A connection of PyPI's ``websockets``, as it comes: it offers permessage-deflate and sends pings of its own."""
    with connect(relay.ws_url, subprotocols=[Subprotocol("relay.v1")], proxy=None) as connection:
        connection.send(json.dumps({"type": "register", "agent": agent}))
        assert json.loads(connection.recv(10))["type"] == "registered"
        yield connection


def test_websockets_gets_every_sentence(shared: Daemon, posting: Posting) -> None:
    with registered(shared, "python") as connection:
        assert connection.subprotocol == "relay.v1"
        for path in SENTENCES:
            waiting = posting(shared, "python", path.read_bytes(), content_type="text/plain", wait=20)
            message = json.loads(connection.recv(20))
            assert message["payload"].encode() == path.read_bytes()
            connection.send(json.dumps({"type": "ack", "id": message["id"]}))
            assert waiting.result().outcome == "delivered"


def test_websockets_may_send_a_message_in_fragments_and_a_ping_between(shared: Daemon) -> None:
    with registered(shared, "fragments") as connection:
        connection.send(['{"type":', '"ping", "ref"', ': "pieces"}'])
        assert json.loads(connection.recv(10))["ref"] == "pieces"
        assert connection.ping().wait(10)


def test_websockets_sees_the_close_codes(shared: Daemon) -> None:
    with registered(shared, "codes") as connection:
        connection.send(b"binary")
        with pytest.raises(ConnectionClosed) as end:
            connection.recv(10)
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1003


def curl(*words: str, stdin: bytes = b"") -> tuple[int, dict[str, object]]:
    """Status and JSON of curl's answer."""
    needs("curl")
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "60", "-w", "\n%{http_code}", *words]
    output = subprocess.run(command, input=stdin, check=True, capture_output=True, timeout=90).stdout
    body, _, status = output.rpartition(b"\n")
    return int(status), json.loads(body)


def test_curl_posts_what_a_phone_would(shared: Daemon, join: Join) -> None:
    agent = join(shared, "curl", acknowledge)
    url = f"{shared.url}/v1/agents/curl/messages"
    status, told = curl("-H", "Content-Type: text/plain", "--data-binary", "Grüße", url)
    assert (status, told["status"]) == (200, "delivered")
    status, told = curl("-H", "Content-Type: application/json", "-H", "Prefer: wait=20", "-d", '{"a": 1e400}', url)
    assert (status, told["status"]) == (200, "delivered")
    # Without a word about it curl says that it sends a form.
    status, told = curl("-d", "a=1&b=2", url)
    assert (status, told["status"]) == (200, "delivered")
    assert agent.next()["payload"] == "Grüße"
    assert agent.next()["content_type"] == "application/json"
    assert agent.slices[1] == b'{"a": 1e400}'
    form = agent.next()
    assert (form["encoding"], base64.b64decode(form["payload"])) == ("base64", b"a=1&b=2")


def test_curl_waits_for_100_continue_and_may_send_in_chunks(shared: Daemon, join: Join) -> None:
    agent = join(shared, "large", acknowledge)
    body = b"0123456789abcdef" * 65536
    url = f"{shared.url}/v1/agents/large/messages"
    plain = ("-H", "Content-Type: text/plain", "-H", "Prefer: wait=20", "--data-binary", "@-")
    for words in (plain, (*plain, "-H", "Expect: 100-continue"), (*plain, "-H", "Transfer-Encoding: chunked")):
        status, told = curl(*words, url, stdin=body)
        assert (status, told["status"]) == (200, "delivered")
        assert agent.next()["payload"].encode() == body


def test_curl_is_told_what_was_wrong(shared: Daemon) -> None:
    status, told = curl("-H", "Content-Type: application/json", "-d", "{", f"{shared.url}/v1/agents/x/messages")
    assert (status, told["type"]) == (400, "/problems/invalid-json")
    status, told = curl("--path-as-is", "-d", "1", f"{shared.url}/v1/agents/../messages")
    assert (status, told["type"]) == (400, "/problems/invalid-agent-id")
    status, told = curl(f"{shared.url}/v1/connect")
    assert (status, told["type"]) == (426, "/problems/upgrade-required")
    assert curl(f"{shared.url}/readyz")[0] == 200
