"""TLS and the PROXY protocol from outside: certificates change under sessions that stay, addresses are the clients'."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.door import get, take_answer
from tests.e2e.support import Daemon, python_script
from tests.e2e.wire import frame, text, upgrade
from tests.test_certificates import pair

pytestmark = pytest.mark.e2e
PATIENCE = 30.0


def renew(folder: Path, name: str) -> None:
    """Put a new key and certificate in the place of the old ones, as a tool that renews them does."""
    for file, content in zip(("key.pem", "cert.pem"), pair(name), strict=True):
        (folder / f"{file}.new").write_bytes(content)
        os.replace(folder / f"{file}.new", folder / file)


def relay_at(folder: Path, endpoint: str) -> Daemon:
    """A relay that listens there."""
    options = ["--listen", endpoint, "--store", "memory:", "--insecure-open"]
    return Daemon(folder, command=[python_script("twistd"), "-n", "--pidfile=", "relay", *options])


@contextmanager
def secure(port: int) -> Iterator[ssl.SSLSocket]:
    """A connection by TLS that offers HTTP/2 first."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line, context.wrap_socket(line) as found:
        yield found


def name_shown(port: int) -> str:
    """The name in the certificate that a newcomer is shown."""
    with secure(port) as line:
        shown = line.getpeercert(binary_form=True)
        assert shown is not None
        found = re.search(rb"cert-[a-z]+", shown)
        assert found is not None
        return found[0].decode()


def talk(line: ssl.SSLSocket, ref: str) -> None:
    """Show that the session is there."""
    line.sendall(text(type="ping", ref=ref))
    data = b""
    while ref.encode() not in data:
        data += line.recv(65536)
    assert b'"pong"' in data


def test_certificates_are_renewed_under_a_session_that_stays(tmp_path: Path) -> None:
    renew(tmp_path, "cert-first")
    daemon = relay_at(tmp_path, "ssl:0:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1")
    output = daemon.launch()
    try:
        port = int(output.wait_for(r"relay listening on https://127\.0\.0\.1:(\d+)", PATIENCE)[1])
        with secure(port) as agent:
            assert agent.selected_alpn_protocol() == "http/1.1"
            agent.sendall(upgrade(port))
            answer, _ = take_answer(agent)
            assert answer.status == 101
            agent.sendall(text(type="register", agent="desk-1"))
            talk(agent, "one")
            assert [name_shown(port) for _ in range(3)] == ["cert-first"] * 3
            renew(tmp_path, "cert-second")
            output.wait_for("the certificate was read again", PATIENCE)
            assert name_shown(port) == "cert-second"
            (tmp_path / "key.pem").write_bytes(b"noise")
            daemon.signal(signal.SIGHUP)
            output.wait_for("the certificate that was read before stays", PATIENCE)
            assert name_shown(port) == "cert-second"
            talk(agent, "two")
    finally:
        daemon.stop()
    assert not daemon.complaints(), daemon.past


def test_behind_a_proxy_the_agents_address_is_its_own(tmp_path: Path) -> None:
    with relay_at(tmp_path, "haproxy:tcp:0:interface=127.0.0.1") as daemon:
        request = upgrade(daemon.port)
        line = b"PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n"
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as agent:
            agent.sendall(line + request + text(type="register", agent="desk-1"))
            answer, rest = take_answer(agent)
            assert answer.status == 101
            while b"registered" not in rest:
                rest += agent.recv(65536)
            with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as publisher:
                publisher.sendall(line + b"GET /v1/agents/desk-1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer, _ = take_answer(publisher)
            assert json.loads(answer.body)["remote"] == "203.0.113.9:5000"
            agent.sendall(frame(b"\x03\xe8", 8))
        with pytest.raises(ConnectionError):
            get(daemon.port, "/healthz")  # without the line of a proxy nobody is spoken to
    assert not daemon.complaints(), daemon.past
