"""Names that the relay gives: message ids and session ids. Time and chance are arguments."""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Callable
from functools import lru_cache
from typing import Final

AGENT_ID: Final = re.compile(r"[A-Za-z0-9._~:@-]{1,128}\Z")


def is_agent_id(text: str) -> bool:
    """Is this an agent id (protocol 1)? ``.`` and ``..`` are not: every URL library would take them out of a path."""
    return AGENT_ID.match(text) is not None and text not in (".", "..")


def message_id(now: float, chance: int) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) of Unix time ``now`` (seconds) and the 74 random bits of ``chance``.

    Order is never read from it: the wall clock may step back.
    """
    value = (int(now * 1000) & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | ((chance >> 62) & 0xFFF) << 64
    value |= 0b10 << 62 | (chance & 0x3FFF_FFFF_FFFF_FFFF)
    # What uuid.UUID makes of it too, in a third of the time.
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_ID_DIGITS: Final = 19  #: hexadecimal digits of a message id that are left to chance, two bits of one apart
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def message_ids(now: float, count: int, getrandbits: Callable[[int], int]) -> list[str]:
    """So many ids of that time, in no order: as ``message_id`` makes them, in a third of the time. 76 bits each."""
    begin = head(int(now * 1000))
    return [begin + tail for tail in tails(count, getrandbits)]


@lru_cache(maxsize=4)
def head(millis: int) -> str:
    """What the ids of that Unix time (milliseconds) begin with: thousands of messages come in a second."""
    stamp = millis & 0xFFFF_FFFF_FFFF
    return f"{stamp >> 16:08x}-{stamp & 0xFFFF:04x}-7"


def tails(count: int, getrandbits: Callable[[int], int]) -> list[str]:
    """What stands after the ``head`` of so many ids."""
    chance = f"{getrandbits(4 * _ID_DIGITS * count):0{_ID_DIGITS * count}x}"
    return [
        f"{chance[n : n + 3]}-{_VARIANT[chance[n + 3]]}{chance[n + 4 : n + 7]}-{chance[n + 7 : n + 19]}"
        for n in range(0, _ID_DIGITS * count, _ID_DIGITS)
    ]


SESSION_NAME: Final = re.compile(r"[0-9a-f]{48}\Z")


def session_name(secret: bytes, agent: str, chance: int) -> str:
    """The name of a session of ``agent``: 128 random bits, and the proof that the relay gave it to this agent.

    So a name that comes back can be believed without being remembered, also after a restart and on another node.
    """
    name = f"{chance:032x}"
    return name + hmac.digest(secret, f"session {name} {agent}".encode(), "sha256")[:8].hex()


def is_session_name(secret: bytes, agent: str, name: str) -> bool:
    """Did the relay give that name to a session of ``agent``?"""
    if SESSION_NAME.match(name) is None:
        return False
    return hmac.compare_digest(session_name(secret, agent, int(name[:32], 16)), name)


def derived_id(secret: bytes, *fields: bytes) -> str:
    """The id of a message with an idempotency key: the same for the same fields, and unguessable without ``secret``.

    HMAC-SHA256 over the fields, each after its length: joined strings could be cut elsewhere. A UUIDv8 (RFC 9562).
    """
    text = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
    value = int.from_bytes(hmac.digest(secret, text, "sha256")[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=value))
