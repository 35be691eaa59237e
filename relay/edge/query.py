"""What a path and a query string say: agents, cursors, limits, switches. Raises Problem where they make no sense."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from relay.core.ids import is_agent_id
from relay.core.problems import Problem
from relay.edge.request import DoorRequest

PAGE_DEFAULT: Final = 100
PAGE_MOST: Final = 1000
MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")

_ESCAPES: Final = re.compile(r"(?:[^%]|%[0-9A-Fa-f][0-9A-Fa-f])*+")


def agent_id(segment: str) -> str:
    """The agent that a path segment names, percent-decoded once. Raises Problem (``invalid-agent-id``)."""
    if _ESCAPES.fullmatch(segment):
        agent = unquote_to_bytes(segment).decode("latin-1")
        # Every URL class would make another path of these two, some before it is sent and some after.
        if is_agent_id(agent):
            return agent
    raise Problem(
        "invalid-agent-id", "an agent id has 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and is not . or .."
    )


def message_id(segment: str) -> str:
    """The message that a path segment names. Raises Problem (``not-found``)."""
    if MESSAGE_ID.fullmatch(segment):
        return segment
    raise Problem("not-found", "no message of that id is known here")


def query(request: DoorRequest, known: set[str]) -> dict[str, str]:
    """The parameters that are known here; others are ignored."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(request.query.decode("ascii"), keep_blank_values=True):
        if name in known and name in found:
            raise Problem("invalid-request", f"{name} was given more than once")
        found[name] = value
    return found


def limit(text: str | None) -> int:
    """How many items a page may have."""
    if text is None:
        return PAGE_DEFAULT
    if re.fullmatch("[0-9]{1,4}", text, re.ASCII) and 1 <= int(text) <= PAGE_MOST:
        return int(text)
    raise Problem("invalid-request", f"limit must be a number from 1 to {PAGE_MOST}")


def switch(name: str, text: str | None) -> bool | None:
    """A parameter that is true, false or left out."""
    if text not in (None, "true", "false"):
        raise Problem("invalid-request", f"{name} must be true or false")
    return None if text is None else text == "true"


def agent_cursor(text: str | None) -> str:
    """Where a page of agents begins."""
    # The last agent of the page before: whoever comes or goes meanwhile, nobody is seen twice or passed over.
    if text is not None and not is_agent_id(text):
        raise Problem("invalid-request", "cursor must be the next of an earlier page")
    return text or ""


def place_cursor(text: str | None) -> int:
    """Where a page of a queue begins."""
    if text is None:
        return 0
    if re.fullmatch("[0-9]{1,18}", text, re.ASCII):
        return int(text)
    raise Problem("invalid-request", "cursor must be the next of an earlier page")


def id_cursor(text: str | None) -> str:
    """Where a page of dead letters begins."""
    if text is not None and not MESSAGE_ID.fullmatch(text):
        raise Problem("invalid-request", "cursor must be the next of an earlier page")
    return text or ""


def number(name: str, text: str | None, default: float) -> float:
    """A parameter that is a number of 0 or more."""
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text, re.ASCII):
        return float(text)
    raise Problem("invalid-request", f"{name} must be a number of 0 or more")
