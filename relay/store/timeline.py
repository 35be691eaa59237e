"""A message's history as a store keeps it: a text with a line for each event, so that adding is appending."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from relay.core.model import Event

MOST_CHARACTERS: Final = 8000  #: past that only the end is added: a message may go to and fro for thirty days
MOST_DETAIL: Final = 500  #: characters of one event's detail


class _Line(msgspec.Struct, array_like=True):
    """``[at, event, session, node, detail]``; what is missing at its end is None."""

    at: float
    event: str
    session: str | None = None
    node: str | None = None
    detail: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def encode(events: Iterable[Event]) -> str:
    """These events as lines."""
    return b"".join([_encode(_values(event)) + b"\n" for event in events]).decode()


def _values(event: Event) -> tuple[float | str | None, ...]:
    if event.detail is not None:
        return event.at, event.event, event.session, event.node, event.detail[:MOST_DETAIL]
    if event.node is not None:
        return event.at, event.event, event.session, event.node
    return (event.at, event.event) if event.session is None else (event.at, event.event, event.session)


def decode(lines: bytes) -> tuple[Event, ...]:
    """The events in ``lines``. One that a flipped bit has spoilt is left out."""
    events = []
    for line in lines.splitlines():
        try:
            found = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        events.append(Event(found.at, found.event, found.session, found.node, found.detail))
    return tuple(events)


def lengthened(lines: str, events: Iterable[Event]) -> str:
    """``lines`` with these events behind them, unless they are long enough already."""
    return lines if len(lines) >= MOST_CHARACTERS else lines + encode(events)
