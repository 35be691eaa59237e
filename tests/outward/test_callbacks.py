"""The sender of callbacks on a fake reactor: whom it connects to, what it says there, how long it waits.

TLS is left out here (``secure`` gives the plain endpoint) but for the name that it is asked to verify.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure

from relay.core.model import Callback
from relay.core.webhooks import Answer, Verdict
from relay.outward.callbacks import WebhookSender, resolving

NOW = 1_800_000_000.5
HOST = "hooks.example.org"
SECRET, OLD_SECRET = b"n" * 24, b"o" * 24
CALLBACK = Callback("m1", f"https://{HOST}/done?of=1", b'{"id":"m1"}')
PUBLIC = "93.184.216.34"


class Socket(StringTransportWithDisconnection):
    """A connection in memory that can be dropped."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


@dataclass
class Receiver:
    """A sender, and the other end of what it connects to. The names of the world are in ``names``."""

    names: dict[str, list[Sequence[str]]] = field(default_factory=lambda: {HOST: [[PUBLIC]]})
    private: bool = False
    secrets: Sequence[bytes] = (SECRET,)

    def __post_init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.verified: list[str] = []
        self.asked: list[str] = []
        self.sender = WebhookSender(
            reactor=self.reactor,
            resolve=self.resolve,
            secrets=self.secrets,
            hosts=[HOST],
            private=self.private,
            wall=lambda: NOW + self.reactor.seconds(),
            user_agent="relay/test",
            secure=self.secure,
        )

    async def resolve(self, host: str) -> Sequence[str]:
        """The next answer for that name, the last one for ever; no answer at all if there is none."""
        self.asked.append(host)
        answers = self.names[host]
        if not answers:
            await Deferred()
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def secure(self, host: str, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        self.verified.append(host)
        return endpoint

    def tell(self, callback: Callback = CALLBACK) -> list[Any]:
        """Try it; the answer, or the exception, is in the list when there is one."""
        told: list[Any] = []
        self.attempt = self.sender.tell(callback)
        self.attempt.addCallbacks(told.append, lambda failure: told.append(failure.value))
        return told

    @property
    def connections(self) -> list[tuple[str, int]]:
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def accept(self) -> Socket:
        """Take the newest connection."""
        factory: Factory = self.reactor.tcpClients[-1][2]
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        socket = Socket()
        socket.protocol = protocol
        protocol.makeConnection(socket)
        self.protocol = protocol
        return socket

    def refuse(self) -> None:
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def say(self, answer: bytes) -> None:
        self.protocol.dataReceived(answer)

    def hang_up(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


def said(told: list[Any]) -> Verdict | None:
    return told[0].verdict if told else None


def test_the_end_is_posted_and_signed() -> None:
    receiver = Receiver(secrets=(SECRET, OLD_SECRET))
    told = receiver.tell()
    head, _, body = receiver.accept().value().partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
    assert line == "POST /done?of=1 HTTP/1.1"
    assert body == CALLBACK.body
    signed = b"m1.1800000000." + CALLBACK.body
    digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in (SECRET, OLD_SECRET)]
    assert headers == {
        "host": HOST,
        "connection": "close",
        "content-length": str(len(body)),
        "content-type": "application/json",
        "user-agent": "relay/test",
        "webhook-id": "m1",
        "webhook-timestamp": "1800000000",
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
    receiver.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert told == [Answer(Verdict.TAKEN)]
    assert receiver.reactor.getDelayedCalls() == []


def test_it_connects_to_what_was_checked_and_verifies_the_name() -> None:
    receiver = Receiver({HOST: [[PUBLIC], ["127.0.0.1"]]})
    receiver.tell(Callback("m1", f"https://{HOST}:8443/", b"{}"))
    assert receiver.connections == [(PUBLIC, 8443)]
    assert receiver.verified == [HOST]
    assert receiver.asked == [HOST]  # who rebinds the name is not asked again


def test_the_next_try_is_checked_afresh() -> None:
    receiver = Receiver({HOST: [[PUBLIC], ["127.0.0.1"]]})
    receiver.tell()
    receiver.refuse()
    assert said(receiver.tell()) is Verdict.FAILED
    assert receiver.connections == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["fe80::1%eth0"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["::127.0.0.1"],
        ["224.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["nonsense"],
        [],
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_public(addresses: list[str]) -> None:
    receiver = Receiver({HOST: [addresses]})
    told = receiver.tell()
    assert said(told) is Verdict.FAILED
    assert told[0].detail.startswith("Refused: ")
    assert receiver.connections == []


def test_private_addresses_are_allowed_by_configuration() -> None:
    receiver = Receiver({HOST: [["127.0.0.1"]]}, private=True)
    receiver.tell()
    assert receiver.connections == [("127.0.0.1", 443)]


@pytest.mark.parametrize("url", ["https://elsewhere.example.org/", f"http://{HOST}/", f"https://{HOST}.evil.org/"])
def test_a_host_that_is_not_allowed_any_more_is_not_even_resolved(url: str) -> None:
    receiver = Receiver()
    assert said(receiver.tell(Callback("m1", url, b"{}"))) is Verdict.FAILED
    assert (receiver.asked, receiver.connections) == ([], [])


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    receiver = Receiver({HOST: [["2606:4700::1111", PUBLIC]]})
    told = receiver.tell()
    receiver.reactor.advance(5)  # the first one says nothing
    receiver.refuse()
    assert receiver.connections == [("2606:4700::1111", 443), (PUBLIC, 443)]
    receiver.refuse()
    assert said(told) is Verdict.FAILED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    receiver = Receiver()
    told = receiver.tell()
    receiver.accept()
    head = f"HTTP/1.1 {status} Moved\r\nLocation: https://{HOST}/other\r\nContent-Length: 0\r\n\r\n"
    receiver.say(head.encode())
    assert told == [Answer(Verdict.FAILED, str(status))]
    assert len(receiver.connections) == 1


def test_the_receiver_may_stop_it_or_put_it_off() -> None:
    receiver = Receiver()
    for answer, expected in (
        (b"410 Gone\r\nContent-Length: 0", Answer(Verdict.GONE, "410")),
        (b"503 Later\r\nRetry-After: 90\r\nContent-Length: 0", Answer(Verdict.FAILED, "503", 90.0)),
    ):
        told = receiver.tell()
        receiver.accept()
        receiver.say(b"HTTP/1.1 " + answer + b"\r\n\r\n")
        assert told == [expected]


def test_no_more_than_4_kib_of_the_answer_are_read() -> None:
    receiver = Receiver()
    told = receiver.tell()
    socket = receiver.accept()
    receiver.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    receiver.say(b"x" * 4000)
    assert (told, socket.connected) == ([], True)
    receiver.say(b"x" * 96)
    assert (said(told), socket.connected) == (Verdict.TAKEN, False)


def test_a_verdict_stands_though_the_body_never_ends() -> None:
    receiver = Receiver()
    told = receiver.tell()
    socket = receiver.accept()
    receiver.say(b"HTTP/1.1 200 OK\r\n\r\nx")
    receiver.reactor.advance(14.9)
    assert told == []
    receiver.reactor.advance(0.1)
    assert (said(told), socket.connected) == (Verdict.TAKEN, False)


def test_a_head_without_end_is_cut_off() -> None:
    receiver = Receiver()
    told = receiver.tell()
    socket = receiver.accept()
    receiver.say(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        if not socket.aborted:
            receiver.say(b"X-%d: %s\r\n" % (number, b"y" * 100))
    assert socket.aborted
    assert said(told) is Verdict.FAILED


def test_who_hangs_up_has_not_taken_it() -> None:
    receiver = Receiver()
    told = receiver.tell()
    receiver.accept()
    receiver.hang_up()
    assert said(told) is Verdict.FAILED


@pytest.mark.parametrize("stage", ["name", "connection", "answer"])
def test_a_try_takes_15_seconds_at_most(stage: str) -> None:
    receiver = Receiver({HOST: []} if stage == "name" else {HOST: [[PUBLIC]]})
    told = receiver.tell()
    if stage == "answer":
        receiver.accept()
    receiver.reactor.advance(14.9)
    assert told == []
    receiver.reactor.advance(0.2)
    assert said(told) is Verdict.FAILED
    assert told[0].detail == "no answer in 15 s"


def test_a_try_can_be_broken_off() -> None:
    receiver = Receiver()
    told = receiver.tell()
    socket = receiver.accept()
    receiver.attempt.cancel()
    assert told
    assert not socket.connected
    assert receiver.reactor.getDelayedCalls() == []


def test_every_address_of_a_name_is_found() -> None:
    class Resolver:
        def resolveHostName(self, receiver: Any, host: str, port: int, **_: Any) -> None:
            receiver.resolutionBegan(None)
            for address in (IPv4Address("TCP", PUBLIC, port), IPv6Address("TCP", "2606:4700::1111", port)):
                receiver.addressResolved(address)
            receiver.resolutionComplete()

    found: list[Sequence[str]] = []
    resolver: Any = Resolver()
    Deferred.fromCoroutine(first(resolving(resolver)(HOST))).addCallback(found.append)
    assert found == [[PUBLIC, "2606:4700::1111"]]


async def first(work: Any) -> Any:
    return await work
