"""What every call over HTTP needs (protocol 1.3): one table. A path or method that is not in it gives away nothing.

``*`` is one segment of the path. HEAD needs what GET needs; OPTIONS says only which methods there are.
"""

from __future__ import annotations

from typing import Final

from relay.core.access import Need

CALLS: Final[dict[str, dict[str, Need]]] = {
    # publishers
    "/v1/agents/*/messages": {"POST": Need.PUBLISH, "GET": Need.ADMIN, "DELETE": Need.ADMIN},
    "/v1/messages": {"POST": Need.LINES},
    "/v1/messages/*": {"GET": Need.OWN, "DELETE": Need.OWN},
    # agents
    "/v1/connect": {"GET": Need.CONNECT},
    "/v1/agents/*/next": {"GET": Need.AGENT},
    "/v1/agents/*/acks": {"POST": Need.AGENT},
    # whoever looks and mends
    "/v1/agents": {"GET": Need.ADMIN},
    "/v1/agents/*": {"GET": Need.VIEW},
    "/v1/agents/*/session": {"DELETE": Need.ADMIN},
    "/v1/dead-letters": {"GET": Need.ADMIN},
    "/v1/dead-letters/*": {"DELETE": Need.ADMIN},
    "/v1/dead-letters/*/requeue": {"POST": Need.ADMIN},
    "/v1/events": {"GET": Need.ADMIN},
    "/metrics": {"GET": Need.ADMIN},
    # everybody
    "/": {"GET": Need.NOTHING},
    "/healthz": {"GET": Need.NOTHING},
    "/readyz": {"GET": Need.NOTHING},
    "/openapi.json": {"GET": Need.NOTHING},
}

_NEEDS: Final = {
    (method.encode("ascii"), path.encode("ascii")): need
    for path, methods in CALLS.items()
    for method, need in methods.items()
}
#: Of these the second segment after the version is somebody's id.
_AGENTS: Final = b"agents"


def needed(method: bytes, path: bytes) -> tuple[Need, str]:
    """What a call needs, and the segment that names its agent ("" where none does)."""
    method = method.upper()  # as the router does
    if method == b"OPTIONS":
        return Need.NOTHING, ""
    if method == b"HEAD":
        method = b"GET"
    parts = path.split(b"/")
    agent = ""
    if len(parts) > 3:
        if parts[2] == _AGENTS:
            agent = parts[3].decode("latin-1")
        parts[3] = b"*"
        path = b"/".join(parts)
    return _NEEDS.get((method, path), Need.TOKEN), agent
