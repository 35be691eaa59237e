"""The same doors under TLS: a real handshake and real records, in memory on both sides."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay.core.limits import Limits
from tests.edge.support import (
    CLOSE,
    PING,
    TEXT,
    Answer,
    Conversation,
    House,
    Socket,
    frame,
    frames,
    get,
    parse,
    post,
    request,
    upgrade,
)

KIB = 1024
# Twisted hands its certificate over in the older of two ways.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


@pytest.fixture(scope="module")
def pem() -> bytes:
    """A key and a certificate for localhost."""
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


class Secure:
    """A client that speaks TLS to a house."""

    def __init__(self, house: House, pem: bytes) -> None:
        private = PrivateCertificate.loadPEM(pem)
        options = CertificateOptions(privateKey=private.privateKey.original, certificate=private.original)
        factory = TLSMemoryBIOFactory(options, False, house.site, house.reactor)
        self.house = house
        self.socket = Socket(house.reactor)
        self._read = 0
        self._from_relay, self._to_relay = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        self._tls = context.wrap_bio(self._from_relay, self._to_relay)
        self.socket.open(factory.buildProtocol(self.socket.getPeer()))
        self._shake_hands()

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
            else:
                break
        self._exchange()

    def _exchange(self) -> None:
        if data := self._to_relay.read():
            self.socket.deliver(data)
        self.socket.run()
        self._from_relay.write(bytes(self.socket.sent[self._read :]))
        self._read = len(self.socket.sent)

    @property
    def spoken(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._exchange()

    def taken(self) -> bytes:
        """What came since the last look."""
        self._exchange()
        data = b""
        while True:
            try:
                piece = self._tls.read(KIB * KIB)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                return data
            if not piece:
                return data
            data += piece

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        (answer,) = parse(self.taken(), "GET")
        return answer

    def join(self) -> Conversation:
        self.send(upgrade())
        assert self.taken().startswith(b"HTTP/1.1 101 ")
        return self.house.floor.conversations[-1]


@pytest.fixture
def house() -> Iterator[House]:
    house = House(limits=Limits(payload=100_000))
    yield house
    house.site.doStop()


@pytest.fixture
def client(house: House, pem: bytes) -> Iterator[Secure]:
    secure = Secure(house, pem)
    yield secure
    secure.socket.hang_up()
    house.reactor.advance(0)
    assert house.reactor.getDelayedCalls() == []


def test_http_1_1_is_spoken_whatever_else_is_offered(client: Secure) -> None:
    assert client.spoken == "http/1.1"
    assert client.ask(get("/healthz")).status == 200
    assert client.ask(post("desk-1", b"1")).status == 200


def test_the_own_origin_is_https(client: Secure) -> None:
    assert client.ask(get("/healthz", origin="https://localhost")).status == 200
    assert client.ask(get("/healthz", origin="http://localhost")).status == 403


def test_under_tls_browsers_are_told_to_stay_with_it(client: Secure) -> None:
    assert client.ask(get("/healthz")).headers["strict-transport-security"] == "max-age=31536000"
    assert client.ask(get("/healthz", host=None)).headers["strict-transport-security"] == "max-age=31536000"


def test_who_is_refused_half_way_sees_the_answer(house: House, client: Secure) -> None:
    answer = client.ask(request("POST", "/v1/agents/a/messages", b"", content_length="200000"))
    assert (answer.status, answer.problem) == (413, "payload-too-large")
    client.send(b"x" * 50_000)
    house.reactor.pump([0.5] * 20)
    client.socket.run()
    assert client.socket.lost


def test_a_first_request_of_several_records_waits_in_a_crowd_as_a_whole(house: House, client: Secure) -> None:
    # A connection under TLS hands over all that its socket had, paused or not.
    while house.site.newcomers.passes(lambda: None):
        pass
    body = b'"' + b"x" * 40_000 + b'"'
    answer = client.ask(post("desk-1", body))
    assert (answer.status, house.floor.submissions[0].payload) == (200, body)


def test_lines_of_a_batch_that_come_in_several_records_of_a_turn_are_submitted_together(
    house: House, client: Secure
) -> None:
    lines = b'{"agent":"desk-1","payload":"%b"}\n' % (b"x" * 100) * 400
    assert len(lines) > 3 * 16 * KIB
    client.send(request("POST", "/v1/messages", lines, content_type="application/x-ndjson"))
    with_the_head, rest = house.floor.together
    assert rest == 400 - with_the_head > 200
    assert client.taken().count(b"delivered") == 400


def test_a_single_line_waits_for_nothing(house: House, client: Secure) -> None:
    line = b'{"agent":"desk-1","payload":1}\n'
    client.send(request("POST", "/v1/messages", line, content_type="application/x-ndjson", content_length="1000"))
    assert house.floor.together == [1]


def test_a_connection_that_is_closed_is_closed(client: Secure) -> None:
    assert client.ask(get("/healthz", connection="close")).status == 200
    client.house.reactor.pump([0.5] * 12)
    client.socket.run()
    assert client.socket.lost


def test_frames_go_both_ways(client: Secure) -> None:
    conversation = client.join()
    client.send(frame(b"one") + frame(b"x" * 100_000) + frame(b"", PING))
    assert conversation.frames == [b"one", b"x" * 100_000]
    conversation.transport.send(b"y" * 100_000)
    assert frames(client.taken())[-1] == (TEXT, b"y" * 100_000)


def test_what_waits_is_known_from_the_moment_it_was_sent(house: House, client: Secure) -> None:
    wire = client.join().transport
    client.socket.room = 0
    before = wire.taken()
    wire.send(b"x" * 1000)
    assert wire.unsent() >= 1004  # before the next turn it waits to be encrypted
    house.reactor.advance(0)
    assert 1004 <= wire.unsent() < 1200
    wire.ping()
    assert wire.taken() == before
    client.socket.room = None
    client.socket.startWriting()
    client.socket.run()
    assert wire.unsent() == 0
    assert wire.taken() == before + 1004 + 2


def test_an_agent_that_does_not_read_is_not_read(client: Secure) -> None:
    conversation = client.join()
    client.socket.room = 0
    conversation.transport.send(b"x" * 200 * KIB)
    client.socket.run()
    assert not client.socket.reading
    assert 200 * KIB <= conversation.transport.unsent() < 210 * KIB
    client.send(frame(b"ack"))
    assert conversation.frames == []
    client.socket.room = None
    client.socket.startWriting()
    client.socket.run()
    assert conversation.frames == [b"ack"]
    assert conversation.drained_count == 1


def test_a_close_is_said_and_ends_in_time(house: House, client: Secure) -> None:
    conversation = client.join()
    conversation.transport.close(1001, "draining")
    assert frames(client.taken()) == [(CLOSE, b"\x03\xe9draining")]
    house.reactor.pump([0.5] * 9)
    assert not client.socket.lost
    house.reactor.pump([0.5] * 2)
    assert client.socket.lost
    assert conversation.ends == [(1001, True)]


def test_after_the_end_every_call_is_allowed(client: Secure) -> None:
    conversation = client.join()
    wire = conversation.transport
    client.socket.hang_up()
    wire.send(b"x")
    wire.ping()
    wire.hold(True)
    wire.hold(False)
    wire.close(4000, "duplicate")
    wire.abort()
    assert wire.unsent() == 0
    assert conversation.ends == [(None, False)]
