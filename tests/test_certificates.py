"""Certificates that change while the relay listens: new connections get the new one, a broken pair changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from relay.certificates import Certificates

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
Write = Callable[..., None]


def pair(name: str) -> tuple[bytes, bytes]:
    """A key and a certificate of that name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return private, certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    clock = iter(range(1, 100))

    def write(key: bytes, certificate: bytes) -> None:
        now = next(clock)
        for name, content in (("key.pem", key), ("cert.pem", certificate)):
            (folder / name).write_bytes(content)
            os.utime(folder / name, (now, now))

    return write


@pytest.fixture
def certificates(folder: Path, write: Write) -> Certificates:
    write(*pair("first"))
    text = f"ssl:0:privateKey={folder}/key.pem:certKey={folder}/cert.pem:interface=127.0.0.1"
    return Certificates(text, serverFromString(MemoryReactorClock(), text))


def shown(certificates: Certificates, most: int = SSL.TLS1_3_VERSION) -> str:
    """The name in the certificate that a client is shown by a handshake in memory; it speaks no version above that."""
    server = certificates.serverConnectionForTLS(None)
    server.set_accept_state()
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
    context.set_max_proto_version(most)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    ends = [(client, server), (server, client)] * 4
    for end, other in ends:
        with suppress(SSL.WantReadError):
            end.do_handshake()
        with suppress(SSL.WantReadError):
            other.bio_write(end.bio_read(1 << 16))
    found = client.get_peer_certificate(as_cryptography=True)
    assert found is not None
    return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_new_files_are_read_once_they_have_settled(certificates: Certificates, write: Write) -> None:
    assert shown(certificates) == "first"
    write(*pair("second"))
    certificates.look()
    assert shown(certificates) == "first"
    certificates.look()
    assert shown(certificates) == "second"
    with capturedLogs() as logged:
        for _ in range(10):
            certificates.look()
    assert not logged


def test_a_session_under_way_keeps_its_own(certificates: Certificates, write: Write) -> None:
    before = certificates.serverConnectionForTLS(None).get_context()
    write(*pair("second"))
    certificates.reload()
    after = certificates.serverConnectionForTLS(None).get_context()
    assert before is not after


@pytest.mark.parametrize(
    ("key", "certificate"),
    [(pair("a")[0], pair("b")[1]), (b"", pair("b")[1]), (pair("a")[0], b""), (b"noise", b"noise")],
    ids=["a key of another", "no key", "no certificate", "noise"],
)
def test_a_broken_pair_changes_nothing_and_is_told_once(
    certificates: Certificates, write: Write, key: bytes, certificate: bytes
) -> None:
    write(key, certificate)
    with capturedLogs() as logged:
        for _ in range(10):
            certificates.look()
    assert shown(certificates) == "first"
    (event,) = logged
    assert event["log_level"].name == "error"
    write(*pair("mended"))
    certificates.look()
    certificates.look()
    assert shown(certificates) == "mended"


def test_files_that_are_gone_change_nothing(certificates: Certificates, folder: Path) -> None:
    (folder / "key.pem").unlink()
    certificates.look()
    certificates.look()
    certificates.reload()
    assert shown(certificates) == "first"


def test_nothing_older_than_tls_1_2_is_spoken(certificates: Certificates) -> None:
    assert shown(certificates, SSL.TLS1_2_VERSION) == "first"
    with pytest.raises(SSL.Error, match="protocol"):
        shown(certificates, SSL.TLS1_1_VERSION)
