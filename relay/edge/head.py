"""Is a request's head one that every reader reads alike? (RFC 9112)

A head that two servers in a row understand differently lets one request hide in another. So where the standard leaves a
choice, this relay refuses: what it takes, the parser behind it and any proxy before it read in the same way.
"""

from __future__ import annotations

import re
from typing import Final

from relay.core.problems import Problem

END: Final = b"\r\n\r\n"

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
#: Case counts in a method, and many readers do not know it: ``get`` is GET to one of them and unheard of to another,
#: which may be the one that judges who may do what.
_METHOD: Final = rb"[!#$%&'*+.^_`|~0-9A-Z-]++"
#: No folded lines, no blank before the colon, no CR, LF or NUL inside.
_HEAD: Final = re.compile(rb"%b [!-~]++ HTTP/1\.([01])\r\n((?:%b:[^\r\n\x00]*+\r\n)*)\r\n" % (_METHOD, _TOKEN))
_FRAMING: Final = re.compile(
    rb"^(host|content-length|transfer-encoding):[ \t]*+([^\r]*?)[ \t]*\r", re.IGNORECASE | re.MULTILINE
)
#: Past that no size is meant.
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")


def check(head: bytes, header_count: int) -> None:
    """Raise Problem (``invalid-request``, ``headers-too-large``) unless ``head``, up to its empty line, is sound."""
    if head.count(b"\r\n") - 2 > header_count:
        raise Problem("headers-too-large", f"a request may have {header_count} headers", limit="header_count")
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _refused("it is a request line of HTTP/1.1 and header lines, each ended by CR LF and none folded")
    found: dict[bytes, list[bytes]] = {b"host": [], b"content-length": [], b"transfer-encoding": []}
    for name, value in _FRAMING.findall(match[2]):
        found[name.lower()].append(value)
    modern = match[1] == b"1"
    if len(found[b"host"]) > 1 or (modern and not found[b"host"]):
        raise _refused("it has one Host")
    _check_framing(found[b"content-length"], found[b"transfer-encoding"], modern)


def _check_framing(lengths: list[bytes], encodings: list[bytes], modern: bool) -> None:
    if len(lengths) + len(encodings) > 1:
        raise _refused("it has one Content-Length or one Transfer-Encoding")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise _refused("Content-Length is a number of bytes")
    if encodings and not modern:
        raise _refused("HTTP/1.0 has no Transfer-Encoding")
    if encodings and encodings[0].lower() != b"chunked":
        raise _refused("the only Transfer-Encoding is chunked")


def _refused(rule: str) -> Problem:
    return Problem("invalid-request", f"the request's head is malformed: {rule}")
