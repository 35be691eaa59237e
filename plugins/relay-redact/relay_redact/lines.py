"""A payload as lines that can be searched all at once, and how it is put together again.

What is replaced is put back where it was, and every other byte is the one that came: of JSON all numbers, names,
blanks and the order stay, and strings in which nothing was found keep their escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

from relay.extensions import Form

#: A string of JSON that was checked: a quote stands nowhere but at its ends, or after a backslash in it. Possessive
#: (``+`` after the repetition): what was read is not tried in another way.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"(\s*+:)?', re.DOTALL)

_decode: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode


class Lines(Protocol):
    """What can be searched in a payload. Line feeds part its texts: no match goes over one."""

    values: bytes  #: what may be replaced
    names: bytes  #: what may only be looked at

    def put_back(self, values: bytes) -> bytes:
        """The payload with these values, which have as many lines as before."""


def lines_of(form: Form, payload: bytes) -> Lines | None:
    """The text in a payload; None if there is none."""
    if form is Form.TEXT:
        return Text(payload)
    if form is Form.LATIN1:
        return Latin(payload)
    return Strings(payload) if form is Form.JSON else None


class Text:
    """Text in UTF-8, as it is."""

    names = b""

    def __init__(self, payload: bytes) -> None:
        self.values = payload

    def put_back(self, values: bytes) -> bytes:
        return values


class Latin:
    """Text in ISO-8859-1."""

    names = b""

    def __init__(self, payload: bytes) -> None:
        self.values = payload.decode("latin-1").encode()

    def put_back(self, values: bytes) -> bytes:
        return values.decode().encode("latin-1")


class Strings:
    """The strings of a JSON text, without their escapes, each on lines of its own: one search for all of them.

    Names are apart: they belong to the structure, and two that were replaced might become one.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._spans: list[tuple[int, int]] = []
        values: list[bytes] = []
        names: list[bytes] = []
        for match in _STRING.finditer(payload):
            if match.end(1) >= 0:
                names.append(_content(payload[match.start() : match.start(1)]))
            else:
                self._spans.append(match.span())
                values.append(_content(match[0]))
        self._contents = values
        self.values = b"\n".join(values)
        self.names = b"\n".join(names)

    def put_back(self, values: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for (start, end), before, after in zip(self._spans, self._contents, self._parted(values), strict=True):
            if before != after:
                pieces += (self._payload[at:start], _encode(after.decode()))
                at = end
        return b"".join((*pieces, self._payload[at:]))

    def _parted(self, values: bytes) -> Iterator[bytes]:
        """The texts of the strings: each has as many lines as it had."""
        lines: Sequence[bytes] = values.split(b"\n")
        at = 0
        for content in self._contents:
            count = content.count(b"\n") + 1
            yield lines[at] if count == 1 else b"\n".join(lines[at : at + count])
            at += count


def _content(string: bytes) -> bytes:
    return _decode(string).encode() if b"\\" in string else string[1:-1]
