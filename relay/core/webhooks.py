"""A message's end as it is told to its callback URL, in the manner of Standard Webhooks (protocol 1.6). Pure."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

import msgspec

from relay.core.model import Callback, Status

HOUR: Final = 3600.0
#: Seconds to wait after each try that failed: ten tries over 75 hours, the schedule of Standard Webhooks.
PAUSES: Final = (5.0, 300.0, 1800.0, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
JITTER: Final = 0.1  #: of a pause, more or less: what failed together does not come back together
LONGEST_PAUSE: Final = 24 * HOUR  #: ``Retry-After`` may ask for that much and no more
SECRET_BYTES: Final = range(24, 65)  #: how long a secret is, decoded
PREFIX: Final = "whsec_"


class Verdict(enum.Enum):
    """What a try came to."""

    TAKEN = "taken"
    GONE = "gone"  #: the receiver wants no more of it
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said, or why it said nothing."""

    verdict: Verdict
    detail: str = ""  #: for people
    retry_after: float | None = None  #: seconds, where the receiver said so


class Sender(Protocol):
    """Whoever POSTs a callback."""

    def tell(self, callback: Callback) -> Awaitable[Answer]:
        """Try once, now. Never raises, and answers in bounded time.

        Cancelling it ends the try; what it then says means nothing.
        """


def make_callback(
    url: str, id: str, agent: str, status: Status, *, attempts: int, reply: bytes | None, reason: str, at: float
) -> Callback:
    """The end of a message, due to be told at once. ``reply`` is JSON as it came; ``at`` is Unix time."""
    fields = {
        "id": id,
        "agent": agent,
        "status": status.value,
        "attempts": attempts,
        "reply": None if reply is None else msgspec.Raw(reply),
        "reason": reason or None,
    }
    body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    return Callback(id, url, body, due_at=at)


def read_secret(text: str) -> bytes:
    """A secret of the form ``whsec_<base64>``. Raises ValueError, which does not repeat it."""
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(PREFIX) or len(secret) not in SECRET_BYTES:
        raise ValueError("not whsec_ and the base64 of 24 to 64 bytes")
    return secret


def signatures(secrets: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """``webhook-signature``: one of each secret, so that a receiver may know the old one or the new one."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    digests = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def judge(status: int, retry_after: Sequence[str], now: float) -> Answer:
    """What an HTTP status and its ``Retry-After`` fields mean, at Unix time ``now``. A redirect is a failure."""
    if 200 <= status < 300:
        return Answer(Verdict.TAKEN)
    if status == 410:
        return Answer(Verdict.GONE, "410")
    return Answer(Verdict.FAILED, str(status), _seconds(retry_after[0], now) if len(retry_after) == 1 else None)


def _seconds(text: str, now: float) -> float | None:
    """``Retry-After`` in seconds from now (RFC 9110 section 10.2.3); None if it cannot be read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def pause(tries: int, retry_after: float | None, uniform: Callable[[float, float], float]) -> float | None:
    """Seconds until the next try, after so many that failed; None: it is given up.

    A receiver may put the next try off, but not ask for it earlier, nor for more tries.
    """
    if tries > len(PAUSES):
        return None
    least = PAUSES[tries - 1] * uniform(1 - JITTER, 1 + JITTER)
    return max(least, min(retry_after or 0.0, LONGEST_PAUSE))
