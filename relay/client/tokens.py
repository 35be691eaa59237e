"""A token, and where a fresh one comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

#: The token itself, or what gives one (at once or later) whenever one is needed.
Token = str | Callable[[], str | Awaitable[str]]


async def fresh(token: Token | None) -> str | None:
    """The token to be sent now. Raises whatever its giver raises."""
    if not callable(token):
        return token or None
    given = token()
    return given if isinstance(given, str) else await given


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries it (RFC 6750 section 2.1). Raises ValueError, which does not show it."""
    if token is None:
        return {}
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is printable ASCII without blanks")
    return {"Authorization": f"Bearer {token}"}
