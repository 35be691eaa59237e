"""What an agent asks of the relay, and of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.core.limits import KIB, MIB
from relay.core.wire import LONGEST_CLIENT, SMALLEST_MAX_FRAME

#: bytes: a text of 1 MiB that JSON must escape throughout fits in it
DEFAULT_MAX_FRAME: Final = 8 * MIB


@dataclass(frozen=True, slots=True)
class Settings:
    """Each is checked; ValueError names the one that is wrong."""

    client: str = "relay.client"  #: what it is, for operators: at most 128 characters
    max_in_flight: int = 100  #: messages sent to it and not yet answered
    ack_wait: float = 30.0  #: seconds until the relay sends a message again; 0 = never in this session
    max_frame: int = DEFAULT_MAX_FRAME  #: bytes: larger messages are not sent to it, but rejected
    on_duplicate: str | None = None  #: ``reject`` or ``replace``, if the relay allows a choice
    raw: bool = False  #: every payload as the bytes that were posted, whatever they are
    batch: bool = True  #: take messages many in a frame
    poll: bool = False  #: by long polls instead of a WebSocket, where none gets through
    concurrency: int = 1  #: handlers at a time; 1 keeps the order
    patience: float = 3600.0  #: seconds that a handler may take
    max_bytes: int = 64 * MIB  #: payload bytes in hand, above which the relay is asked to pause
    stop_limit: float = 10.0  #: seconds that handlers are waited for when the agent stops

    def __post_init__(self) -> None:
        checks = (
            (len(self.client) <= LONGEST_CLIENT, "client", f"at most {LONGEST_CLIENT} characters"),
            (1 <= self.max_in_flight <= 10_000, "max_in_flight", "1 to 10000"),
            (0 <= self.ack_wait <= 3600, "ack_wait", "0 to 3600 seconds"),
            (self.max_frame >= SMALLEST_MAX_FRAME, "max_frame", f"at least {SMALLEST_MAX_FRAME} bytes"),
            (self.on_duplicate in (None, "reject", "replace"), "on_duplicate", "'reject' or 'replace'"),
            (1 <= self.concurrency <= 10_000, "concurrency", "1 to 10000"),
            (0 < self.patience < float("inf"), "patience", "more than 0 seconds"),
            (self.max_bytes >= 64 * KIB, "max_bytes", f"at least {64 * KIB} bytes"),
            (0 <= self.stop_limit < float("inf"), "stop_limit", "0 seconds or more"),
        )
        for holds, name, allowed in checks:
            if not holds:
                raise ValueError(f"{name} must be {allowed}, not {getattr(self, name)!r}")
