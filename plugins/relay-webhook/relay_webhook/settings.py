"""The table ``[extensions.webhook]``, read. Files are not touched here: that is for when it is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from relay.core.access import is_pattern, matches
from relay.extensions import Notice, Settings, SettingsError
from relay.kinds import Kind, choice, count, flag, seconds, several, text

#: Every event of a message (protocol 1.4).
EVENTS: Final = (
    "message.accepted",
    "message.queued",
    "message.sent",
    "message.delivered",
    "message.rejected",
    "message.expired",
    "message.dead",
    "message.cancelled",
    "message.replaced",
)

LOCAL: Final = re.compile(r"localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|::1")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are posted, and how. Times in seconds."""

    url: str
    events: frozenset[str]
    agents: tuple[str, ...]  #: patterns of the agents whose messages are told of
    secret_file: str  #: secrets that sign, one a line; empty: nothing is signed
    ca_file: str  #: who vouches for the receiver's certificate; empty: whom this machine trusts
    batch: int  #: events in one POST
    batch_seconds: float  #: an event waits no longer than that for others to go with it
    queue: int  #: events that wait; past that the newest are dropped
    timeout: float  #: for one POST, from the name to the answer
    retry_seconds: float  #: a batch that was not taken for so long is given up
    stop_seconds: float  #: for what waits when the relay stops

    def wants(self, notice: Notice) -> bool:
        """Is it told of that?"""
        return notice.event in self.events and any(matches(pattern, notice.agent) for pattern in self.agents)


def _url(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,2000}", value):
        raise ValueError
    parts = urlsplit(value)
    # A port that is none raises ValueError by itself.
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or "#" in value:
        raise ValueError
    if parts.port == 0:
        raise ValueError
    return value


def _agent_pattern(value: Any) -> str:
    if not isinstance(value, str) or not is_pattern(value):
        raise ValueError
    return value


#: What follows the host is often a secret: an error does not show it.
URL: Final = Kind(_url, "an https URL without a user, a password or a fragment", secret=True)
PATH: Final = r"[^\0-\x1f]+"
AGENTS: Final = several(Kind(_agent_pattern, ""), "patterns of agent ids, such as desk-*", least=1)


def read(table: dict[str, Any]) -> Webhook:
    """Raises SettingsError."""
    settings = Settings(table)
    url = settings.take("url", URL)
    plain = settings.take("plain_http", flag(), False)
    webhook = Webhook(
        url=url,
        events=frozenset(settings.take("events", several(choice(*EVENTS), ", ".join(EVENTS), least=1), EVENTS)),
        agents=settings.take("agents", AGENTS, ("*",)),
        secret_file=settings.take("secret_file", text(PATH, "the path of a file with one secret a line"), ""),
        ca_file=settings.take("ca_file", text(PATH, "the path of a file with certificates in PEM"), ""),
        batch=settings.take("batch", count(1, 10_000), 500),
        batch_seconds=settings.take("batch_seconds", seconds(0, 60), 1.0),
        queue=settings.take("queue", count(1, 1_000_000), 20_000),
        timeout=settings.take("timeout", seconds(1, 60), 15.0),
        retry_seconds=settings.take("retry_seconds", seconds(0, 86_400), 3600.0),
        stop_seconds=settings.take("stop_seconds", seconds(0, 30), 3.0),
    )
    settings.done()
    _check(webhook, plain)
    return webhook


def _check(webhook: Webhook, plain: bool) -> None:
    """What no single value can say. Raises SettingsError."""
    parts = urlsplit(webhook.url)
    if webhook.batch > webhook.queue:
        raise SettingsError("batch", webhook.batch, f"at most queue, which is {webhook.queue}")
    if parts.scheme == "https":
        return
    if not plain and not LOCAL.fullmatch(parts.hostname or ""):
        raise SettingsError("url", None, "https, or http on this machine; plain_http = true lifts this")
    if webhook.ca_file:
        raise SettingsError("ca_file", webhook.ca_file, "only where url is https")
