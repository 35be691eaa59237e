"""A callback from outside: a receiver with TLS of its own, a relay that is killed in between, one end told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import post
from tests.e2e.support import Daemon

pytestmark = pytest.mark.e2e
SECRET = b"s" * 32
PATIENCE = 40.0
Start = Callable[..., Daemon]


@dataclass(frozen=True)
class Request:
    """What a receiver got."""

    path: str
    headers: Message
    body: bytes


class Receiver:
    """Takes POSTs for ``localhost`` by HTTPS, and answers each with the next of ``statuses``, the last one for ever."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "receiver.pem"
        self.certificate.write_bytes(pem())
        self.statuses = [204]
        self.requests: queue.Queue[Request] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.requests.put(Request(self.path, self.headers, body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_port}/done?of=1"

    def next(self) -> Request:
        return self.requests.get(timeout=PATIENCE)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


def pem() -> bytes:
    """A key and a certificate for localhost that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.close()


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    secrets = tmp_path / "secrets"
    secrets.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    return ["--callback-host", "localhost", "--callback-secret-file", str(secrets)]


def is_signed(request: Request) -> bool:
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    return str(request.headers["webhook-signature"]) == f"v1,{digest}"


def test_an_end_is_told_once_it_is_taken_though_the_relay_was_killed(
    start: Start, join: Callable[..., Agent], receiver: Receiver, options: list[str]
) -> None:
    relay = start(*options, "--callback-private", environment={"SSL_CERT_FILE": str(receiver.certificate)})
    receiver.statuses = [503, 204]
    id = post(relay.port, "desk", "1", headers={"Callback-URL": receiver.url}).json["id"]
    join(relay, "desk", acknowledge).next()
    first = receiver.next()
    relay.kill()
    relay.start()
    second = receiver.next()
    for request in (first, second):
        assert request.path == "/done?of=1"
        assert request.headers["webhook-id"] == id
        assert is_signed(request)
        assert json.loads(request.body) == {"id": id, "agent": "desk", "status": "delivered", "attempts": 1}


def test_what_is_direct_is_told_too(
    start: Start, join: Callable[..., Agent], receiver: Receiver, options: list[str]
) -> None:
    relay = start(*options, "--callback-private", environment={"SSL_CERT_FILE": str(receiver.certificate)})
    join(relay, "desk", acknowledge)
    answer = post(relay.port, "desk", "1", headers={"Callback-URL": receiver.url})
    assert answer.outcome == "delivered"
    assert json.loads(receiver.next().body)["id"] == answer.json["id"]


def test_a_host_that_is_not_named_is_refused_at_once(start: Start, receiver: Receiver) -> None:
    relay = start()
    answer = post(relay.port, "desk", "1", headers={"Callback-URL": receiver.url})
    assert (answer.status, answer.problem) == (400, "invalid-header")
    assert "localhost" in answer.json["detail"]
