"""What a request is for: its target, taken apart (RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from relay.core.problems import Unsound

#: A path, or a whole URL (RFC 9112 section 3.2); a fragment is never sent.
_TARGET: Final = re.compile(
    rb"(?:(?P<scheme>https?)://(?P<authority>[^/?#]*))?(?P<path>/[^?#]*|)(?:\?(?P<query>[^#]*))?", re.I
)


def read_target(target: bytes, hosts: Sequence[str]) -> tuple[bytes, bytes, str]:
    """Path, query and the host that is meant. ``hosts`` are the values of ``Host``. Raises Unsound."""
    match = _TARGET.fullmatch(target)
    if match is None or not (match["path"] or match["scheme"]):
        raise Unsound("the request's target must be a path, or a URL of http or https")
    path, query = match["path"] or b"/", match["query"] or b""
    if match["scheme"] is None:
        return path, query, hosts[0] if hosts else ""
    authority = match["authority"].decode("latin-1")
    # The standard lets the URL win. A reader before us that believed the header would have judged another host.
    if hosts and hosts[0].lower() != authority.lower():
        raise Unsound("the host of the request's URL must be the one in Host")
    return path, query, authority
