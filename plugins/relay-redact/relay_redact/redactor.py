"""The filter: every rule that concerns a message, in the configured order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from relay.core.limits import Limits
from relay.extensions import Message, Problem, Submission, replace
from relay_redact.lines import lines_of
from relay_redact.patterns import Budget, TooMuch
from relay_redact.settings import BEFORE_SEND, INGEST, Rule

Carrier = TypeVar("Carrier", Submission, Message)


class Relay(Protocol):
    """What is asked of the relay."""

    limits: Limits

    def count(self, name: str, number: int = 1) -> None: ...


class Ingest:
    """Looks at messages as they come in: what it replaces is neither kept nor sent."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def ingest(self, submission: Submission) -> Submission | None:
        return self._redactor.judged(submission, INGEST)


class BeforeSend:
    """Looks at messages as they go out: the store keeps what came in."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def before_send(self, message: Message) -> Message | None:
        return self._redactor.judged(message, BEFORE_SEND)


class Both(Ingest, BeforeSend):
    """For rules of either kind."""


def make_filter(rules: Sequence[Rule], relay: Relay) -> Any:
    """A filter with no more hooks than the rules need: one that is not there costs nothing."""
    places = {rule.at for rule in rules}
    kind: Callable[[Redactor], Any] = Both if len(places) > 1 else Ingest if INGEST in places else BeforeSend
    return kind(Redactor(rules, relay))


class Redactor:
    """``rules`` apply in their order, each to what the ones before it left."""

    def __init__(self, rules: Sequence[Rule], relay: Relay) -> None:
        self._rules = {place: [rule for rule in rules if rule.at == place] for place in (INGEST, BEFORE_SEND)}
        self._relay = relay

    def judged(self, carrier: Carrier, place: str) -> Carrier | None:
        """None if it may pass as it is, otherwise what takes its place. Raises Problem: a rule refuses it."""
        rules = [rule for rule in self._rules[place] if rule.means(carrier.agent)]
        if not rules:
            return None
        try:
            payload = self._redacted(carrier, rules)
        except TooMuch:
            self._relay.count("too_much")
            detail = "a filter of this relay found more in it than it looks at in one message"
            raise Problem("rejected", detail) from None
        if payload is None:
            return None
        most = max(self._relay.limits.payload, len(carrier.payload))
        if len(payload) > most:
            raise Problem("payload-too-large", f"what a filter of this relay made of it is longer than {most} bytes")
        return replace(carrier, payload=payload)

    def _redacted(self, carrier: Carrier, rules: Sequence[Rule]) -> bytes | None:
        lines = lines_of(carrier.form, carrier.payload)
        if lines is None:
            return None
        budget, values = Budget(), lines.values
        for rule in rules:
            if rule.refuses:
                self._refuse(rule, (values, lines.names), budget)
            else:
                values = self._replace(rule, values, budget)
        return None if values is lines.values else lines.put_back(values)

    def _refuse(self, rule: Rule, texts: Sequence[bytes], budget: Budget) -> None:
        for text in texts:
            for _ in rule.find(text, budget):
                self._relay.count(f"refused_{rule.name}")
                # Never what was found: the answer may be logged.
                raise Problem("rejected", f"a filter of this relay refuses messages with {rule.name} in them")

    def _replace(self, rule: Rule, text: bytes, budget: Budget) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for start, end in rule.find(text, budget):
            pieces += (text[at:start], rule.instead)
            at = end
        if not pieces:
            return text
        self._relay.count(f"replaced_{rule.name}", len(pieces) // 2)
        return b"".join((*pieces, text[at:]))
