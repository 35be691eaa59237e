"""Who may do what: grants, patterns, and what each scope allows (protocol 1, 'Tokens', and 1.3)."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from relay.core.problems import Problem

#: After its token has expired a session has so long to bring a fresh one, in seconds (protocol 2.3).
GRACE: Final = 25.0

LONGEST_NAME: Final = 255
MOST_PATTERNS: Final = 1000

_PATTERN: Final = re.compile(r"[A-Za-z0-9._~:@*-]{1,128}")
_NAME: Final = re.compile(rf"[!-~]{{1,{LONGEST_NAME}}}")


class TokenRefused(Exception):
    """A token is not good: unknown, expired, malformed, revoked. The text says why, without the token."""


class TokenUnknown(TokenRefused):
    """A token is none of this provider's: another may know it."""


class TokensUnavailable(Exception):
    """Whether a token is good cannot be told now. The text says why."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of a token may do. The scopes are apart: ``admin`` neither publishes nor is an agent."""

    name: str  #: who it is: the publisher of messages, what the audit log says
    publish: tuple[str, ...] = ()  #: patterns of the agents that it may publish to
    agent: tuple[str, ...] = ()  #: patterns of the agents that it may be
    admin: bool = False
    expires_at: float | None = None  #: Unix time, seconds
    source: str = ""  #: the provider that gave it …
    key: str = ""  #: … and what that knows it by: for revocation

    def may_publish(self, agent: str) -> bool:
        """May it publish to that agent?"""
        return _means(self.publish, agent)

    def may_be(self, agent: str) -> bool:
        """May it hold that agent's session?"""
        return _means(self.agent, agent)

    def may_register(self, agent: str) -> bool:
        """May it hold a session: of that agent, or ("") one that only publishes?"""
        return self.may_be(agent) if agent else bool(self.publish)

    def ended(self, now: float) -> bool:
        """Is it past its end, and past the time to bring a fresh one, at the Unix time ``now``?"""
        return self.expires_at is not None and now >= self.expires_at + GRACE


#: Of everybody, while nobody has to say who they are. All publishers are then one.
OPEN: Final = Grant("", ("*",), ("*",), admin=True)

#: Of somebody of whom nothing is known: for what needs nothing.
NOBODY: Final = Grant("")


def is_pattern(text: str) -> bool:
    """Can this be a pattern of agent ids?"""
    return _PATTERN.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Can this name the holder of a token? The empty name is that of everybody."""
    return _NAME.fullmatch(text) is not None


def _means(patterns: tuple[str, ...], agent: str) -> bool:
    # Asked for every message, and nearly always of who may speak to all, or to this one by its name.
    return "*" in patterns or agent in patterns or any(matches(pattern, agent) for pattern in patterns)


def matches(pattern: str, agent: str) -> bool:
    """Does the pattern mean that agent? ``*`` stands for any run of characters, an empty one too; case counts.

    Not by a regular expression, which would take its time over many stars.
    """
    first, star, rest = pattern.partition("*")
    if not star:
        return pattern == agent
    *middle, last = rest.split("*")
    at, end = len(first), len(agent) - len(last)
    if at > end or not agent.startswith(first) or not agent.endswith(last):
        return False
    for part in middle:
        found = agent.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


class Need(enum.Enum):
    """What a call asks of a grant."""

    NOTHING = "nothing"  #: not even a token
    TOKEN = "a token"  #: any good one: the path has no call of that method, and says so
    CONNECT = "a good token, if there is one"  #: the session says later who it is
    PUBLISH = "publish to the agent"
    LINES = "publish"  #: to some agent; each line is asked for its own
    AGENT = "be the agent"
    SOME_AGENT = "agent"  #: be some agent
    VIEW = "publish to the agent, or admin"  #: without admin it sees less
    OWN = "publish, or admin"  #: without admin it sees its own messages only
    ADMIN = "admin"


def check(need: Need, grant: Grant, agent: str) -> None:
    """May the holder of the grant make a call that needs this, of that agent? Raises Problem (``forbidden``)."""
    if not _allowed(need, grant, agent):
        raise Problem(
            "forbidden", f"the token of {grant.name[:64] or 'nobody'} may not do this; it needs: {need.value}"
        )


def _allowed(need: Need, grant: Grant, agent: str) -> bool:
    match need:
        case Need.PUBLISH:
            return grant.may_publish(agent)
        case Need.AGENT:
            return grant.may_be(agent)
        case Need.SOME_AGENT:
            return bool(grant.agent)
        case Need.VIEW:
            return grant.admin or grant.may_publish(agent)
        case Need.LINES:
            return bool(grant.publish)
        case Need.OWN:
            return grant.admin or bool(grant.publish)
        case Need.ADMIN:
            return grant.admin
    return True


def may_see(grant: Grant, publisher: str) -> bool:
    """May it look at, and cancel, a message of that publisher?"""
    return grant.admin or grant.name == publisher
