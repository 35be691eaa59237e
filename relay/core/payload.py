"""What a body is: by its content type, never by its looks (protocol 1.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from relay.core import json
from relay.core.model import Form
from relay.core.problems import Problem

#: The longest content type that is passed on to an agent, in characters.
MOST: Final = 255

# The repetitions are possessive (``+`` after it): what has been read is not tried in another way, however long it is.
# But not those of what repeats something itself (tests/test_expressions.py).
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED: Final = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*+"'
_PARAMETERS: Final = rf"(?:;[ \t]*+(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED})[ \t]*+)?)*"
_PARAMETER: Final = re.compile(rf";[ \t]*+({_TOKEN})=({_TOKEN}|{_QUOTED})")
_MEDIA_TYPE: Final = re.compile(rf"({_TOKEN})/({_TOKEN})[ \t]*+({_PARAMETERS})")

#: charset -> (form, codec that the body must be in)
_CHARSETS: Final = {
    "utf-8": (Form.TEXT, "utf-8"),
    "us-ascii": (Form.TEXT, "ascii"),
    "iso-8859-1": (Form.LATIN1, "latin-1"),
}


def read(content_types: Sequence[str], body: bytes) -> tuple[Form, str]:
    """The form of ``body`` and its content type, as the agent is told. ``content_types`` are the request's headers.

    Raises Problem: ``empty-body``, ``invalid-header``, ``invalid-json``, ``invalid-text``, ``unsupported-media-type``.
    """
    if not body:
        raise Problem("empty-body", "the body is the message, and it must not be empty")
    if not content_types:
        return _guessed(body)
    if len(content_types) > 1:
        raise Problem("invalid-header", "Content-Type was given more than once")
    content_type = content_types[0]
    form, charset = check_type(content_type)
    if form is Form.JSON:
        try:
            json.check(body)
        except json.NotJson as error:
            raise Problem("invalid-json", f"the body is not JSON: {error}") from None
    elif form is Form.TEXT:
        form = _text(body, charset)
    return form, content_type


@lru_cache(maxsize=256)
def check_type(content_type: str) -> tuple[Form, str]:
    """What a body of that type should be, and in which charset a text is. Raises Problem (``invalid-header``).

    Few types come again and again.
    """
    match = _MEDIA_TYPE.fullmatch(content_type) if len(content_type) <= MOST else None
    if match is None:
        raise Problem("invalid-header", f"Content-Type must be type/subtype with parameters, {MOST} characters at most")
    kind, subtype = match[1].lower(), match[2].lower()
    if subtype.endswith("+json") or (kind, subtype) == ("application", "json"):
        return Form.JSON, ""
    return (Form.TEXT, _charset(match[3])) if kind == "text" else (Form.BINARY, "")


def _guessed(body: bytes) -> tuple[Form, str]:
    try:
        json.check(body)
    except json.NotJson as error:
        raise Problem(
            "unsupported-media-type", f"without a Content-Type the body must be JSON, and it is not: {error}"
        ) from None
    return Form.JSON, "application/json"


def _charset(parameters: str) -> str:
    for name, value in _PARAMETER.findall(parameters):
        if name.lower() == "charset":
            return re.sub(r"\\(.)", r"\1", value.strip('"')).lower()
    return "utf-8"


def _text(body: bytes, charset: str) -> Form:
    if charset not in _CHARSETS:
        raise Problem("unsupported-media-type", "the charset of text must be UTF-8, US-ASCII or ISO-8859-1")
    form, codec = _CHARSETS[charset]
    try:
        body.decode(codec)
    except UnicodeDecodeError as error:
        raise Problem("invalid-text", f"the body is not {charset.upper()} (byte {error.start})") from None
    return form
