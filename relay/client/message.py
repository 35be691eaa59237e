"""What a handler is given, and how it says no."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from relay.client.frames import Delivery

_LONGEST_INT: Final = 4300  #: digits: Python makes no ``int`` of more
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*"?([^\s";]+)""", re.IGNORECASE)
_DEFAULT_LIFE: Final = 7 * 86400.0  #: seconds: the contract's TTL, where a message does not say


@dataclass(frozen=True)
class Message:
    """A message as the relay sent it.

    ``raw`` is the payload byte for byte as it stands in the frame: JSON. The other views are made from it when they are
    asked for: ``payload`` (a Python value), ``text`` and ``body`` (what was posted).
    """

    id: str  #: the same each time that this message is sent
    agent: str
    raw: bytes
    content_type: str
    encoding: str | None = None  #: ``base64``, or None: the payload stands there as it is
    queued: bool = False  #: was it on the relay's disk before it was sent?
    attempt: int = 1  #: counts sends
    created_at: str = ""  #: RFC 3339
    expires_at: str = ""  #: RFC 3339
    topic: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Delivery, agent: str) -> Message:
        """The message in a frame that was sent to ``agent``."""
        return cls(
            id=frame.id,
            agent=agent,
            # A copy: a Raw is a view, and would keep its whole frame in memory.
            raw=bytes(frame.payload),
            content_type=frame.content_type,
            encoding=frame.encoding,
            queued=frame.queued,
            attempt=frame.attempt,
            created_at=frame.created_at,
            expires_at=frame.expires_at,
            topic=frame.topic,
            headers=frame.headers,
        )

    @cached_property
    def payload(self) -> Any:
        """The payload as a Python value: for base64 the ``bytes``, otherwise what the JSON says.

        A float has 15 digits or so: who needs every digit reads ``raw`` with a parser of his own. An integer too long
        for an ``int`` is a ``Decimal``.
        """
        if self.encoding == "base64":
            return self.body
        return json.loads(self.raw, parse_int=_integer)

    @property
    def text(self) -> str:
        """The payload for people: a text as itself, JSON as it was written, other bytes if they are UTF-8.

        Raises UnicodeDecodeError when they are not.
        """
        if self._is_text and self.encoding is None:
            return str(json.loads(self.raw))
        return self.body.decode(_charset(self.content_type) if self._is_text else "utf-8")

    @cached_property
    def body(self) -> bytes:
        """What was posted, byte for byte."""
        if self.encoding == "base64":
            return base64.b64decode(json.loads(self.raw), validate=True)
        if self._is_text:  # and no base64
            return self.text.encode(_charset(self.content_type))
        return self.raw

    @property
    def _is_text(self) -> bool:
        # By the content type and never by its looks: a JSON string that was posted as JSON keeps its quotes.
        return self.content_type.lower().lstrip().startswith("text/")

    @property
    def life(self) -> float:
        """Seconds from its creation to its expiry: no longer than that can it still come again."""
        try:
            born, ends = datetime.fromisoformat(self.created_at), datetime.fromisoformat(self.expires_at)
            return max(0.0, (ends - born).total_seconds())
        except (ValueError, TypeError):
            return _DEFAULT_LIFE


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _LONGEST_INT else Decimal(digits)


def _charset(content_type: str) -> str:
    """The charset of a text, among those that the relay takes: UTF-8 covers US-ASCII."""
    found = _CHARSET.search(content_type)
    return "latin-1" if found and found[1].lower() in ("iso-8859-1", "latin-1", "latin1") else "utf-8"


class Nack(Exception):
    """Raised by a handler: this message was not processed.

    ``requeue``: send it again later, or never (then it is ``rejected``, and its publisher is told). ``delay``: seconds
    until then, 0 to 86400; without it the relay chooses. ``reason`` is for people: the publisher and the operator.
    """

    def __init__(self, reason: str = "", *, requeue: bool = True, delay: float | None = None) -> None:
        if delay is not None and not 0 <= delay <= 86400:
            raise ValueError(f"a delay is 0 to 86400 seconds, not {delay}")
        super().__init__(reason)
        self.reason = reason
        self.requeue = requeue
        self.delay = delay
