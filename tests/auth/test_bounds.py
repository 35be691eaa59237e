"""What showing tokens may cost: their length, the patience with a provider, how late those who guess are answered."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.auth.checkpoint import Checkpoint
from relay.core.access import Grant, TokenUnknown
from relay.core.limits import Limits
from relay.core.problems import Problem


class Provider:
    """One that knows no token, or (``mute``) never says."""

    source = "test"
    mute = False

    def known(self, token: str) -> Grant | None:
        return None

    def check(self, token: str) -> Awaitable[Grant]:
        answer: Deferred[Grant] = Deferred()
        if not self.mute:
            answer.errback(TokenUnknown("nobody knows it"))
        return answer

    def still(self, grant: Grant) -> Grant | None:
        return grant

    def on_change(self, call: Any) -> None:
        pass


class Silent:
    """An audit that keeps nothing."""

    def note(self, event: str, **fields: Any) -> None:
        pass


class Guesser:
    """Shows wrong tokens, and looks how late the answer comes."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.provider = Provider()
        self.checkpoint = Checkpoint(
            [self.provider], clock=self.clock, wall=self.clock.seconds, limits=Limits(**limits), audit=Silent()
        )

    def guess(self, peer: str = "192.0.2.7:5000", token: str = "wrong") -> list[str]:
        """Where the words of the refusal will be."""
        told: list[str] = []

        def refused(failure: Failure) -> None:
            assert isinstance(failure.value, Problem)
            told.append(failure.value.word)

        self.checkpoint.check(token, peer).addErrback(refused)
        return told


def test_who_guesses_is_answered_late_from_the_tenth_failure_of_its_address() -> None:
    guesser = Guesser()
    assert [guesser.guess() for _ in range(9)] == [["unauthenticated"]] * 9
    late = guesser.guess()
    assert late == []
    assert guesser.guess("192.0.2.8:5000") == ["unauthenticated"]
    guesser.clock.advance(1.0)
    assert late == ["unauthenticated"]


def test_failures_of_more_than_a_minute_ago_are_forgiven() -> None:
    guesser = Guesser(auth_failures=2)
    guesser.guess()
    guesser.clock.advance(61)
    assert guesser.guess() == ["unauthenticated"]


def test_a_token_of_any_length_is_not_looked_at() -> None:
    guesser = Guesser(token_bytes=10)
    guesser.provider.mute = True
    assert guesser.guess(token="x" * 11) == ["unauthenticated"]
    assert guesser.guess(token="x" * 10) == []


def test_a_provider_that_never_answers_is_given_up() -> None:
    guesser = Guesser(auth_seconds=5)
    guesser.provider.mute = True
    told = guesser.guess()
    guesser.clock.advance(4.9)
    assert told == []
    guesser.clock.advance(0.2)
    assert told == ["overloaded"]


def test_the_failures_of_so_many_addresses_are_counted_and_no_more() -> None:
    guesser = Guesser(auth_addresses=3, auth_failures=2)
    for number in range(50):
        guesser.guess(f"192.0.2.{number}:5000")
    assert guesser.guess("192.0.2.0:5000") == ["unauthenticated"]
    assert guesser.guess("192.0.2.0:5000") == []
    guesser.clock.advance(1.0)


def test_a_token_of_any_length_is_not_even_hashed() -> None:
    guesser = Guesser(token_bytes=10)
    shown: list[str] = []
    guesser.provider.known = shown.append  # type: ignore[method-assign,assignment]  # it is only looked at who asks
    for token in ("x" * 11, "x" * 2_000_000):
        assert guesser.checkpoint.known(token) is None
        assert guesser.guess(token=token) == ["unauthenticated"]
    assert shown == []
