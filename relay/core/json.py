"""Is this JSON that every strict parser can read? The one judge of what the relay passes on (RFC 8259)."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

import msgspec

MAX_DEPTH: Final = 128

_BOM: Final = b"\xef\xbb\xbf"
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
#: A string without escapes, or what there is of one that never ends: with the last quote required, a body of open
#: quotes would be scanned to its end once for each of them.
_STRING: Final = re.compile(rb'"[^"]*+"?')
#: Brackets become the step that they make in depth, as a signed byte; all else is deleted.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))
_any: Final = msgspec.json.Decoder(msgspec.Raw).decode


class NotJson(ValueError):
    """The bytes are not JSON that may be passed on. The text says what is wrong, for the sender to read."""


def check(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Raise NotJson unless ``data`` is one JSON value in UTF-8 without BOM, with only blanks around it.

    Numbers may be of any length and repeated names pass. ``NaN``, ``Infinity``, lone surrogate escapes and more than
    ``max_depth`` arrays and objects within each other do not. Takes time in proportion to ``data``, and never raises
    anything else.
    """
    check_shape(data, max_depth)
    try:
        _any(data)
    except msgspec.DecodeError as error:
        raise NotJson(_said(str(error))) from None
    except RecursionError:
        raise NotJson("it is nested too deep") from None


def check_shape(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """What ``check`` looks for and a decoder of msgspec does not: whoever decodes ``data`` anyway needs no more.

    Raises NotJson.
    """
    if data.startswith(_BOM):
        raise NotJson("it begins with a byte order mark; JSON has none")
    try:
        data.decode("utf-8")  # The parser takes any bytes inside strings.
    except UnicodeDecodeError as error:
        raise NotJson(f"it is not UTF-8 (byte {error.start})") from None
    # The parser recurses, and where it gives up depends on the interpreter and on who called.
    if len(data) > max_depth and data.count(b"[") + data.count(b"{") > max_depth and _depth(data) > max_depth:
        raise NotJson(f"it is nested more than {max_depth} deep")


def _depth(data: bytes) -> int:
    steps = _STRING.sub(b"", _ESCAPE.sub(b"", data)).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _said(text: str) -> str:
    # The parser calls a value that stops in a surrogate pair truncated too: a sender would look in the wrong place.
    if text == "Input data was truncated":
        return "it ends too early, or a surrogate escape in it stands alone"
    return text.removeprefix("JSON is malformed: ")
