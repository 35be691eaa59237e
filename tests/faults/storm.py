"""Very many short talks at once: what each sends is known before it is opened, and all that comes back is kept.

One thread, the standard library's event loop, and so many connections at a time. Who says nothing for long is hung up
on: the relay's own deadlines are tried elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

CONNECTIONS: Final = 100  #: at a time
PATIENCE: Final = 1.0  #: seconds until we hang up
MOST: Final = 4 * 1024 * 1024  #: bytes that one talk may bring

Judge = Callable[[bytes], str]  #: what is wrong with all that came back; empty if nothing is


@dataclass(frozen=True)
class Talk:
    """What is sent, and what it counts as."""

    name: str
    said: bytes
    count: int
    judge: Judge


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, said: bytes) -> None:
        self.came = bytearray()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._said = said

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._said)

    def data_received(self, data: bytes) -> None:
        self.came += data
        if len(self.came) > MOST:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def _talk(port: int, talk: Talk) -> str:
    """What is wrong with how the relay took it; empty if nothing is."""
    try:
        _, line = await asyncio.get_running_loop().create_connection(lambda: _Line(talk.said), "127.0.0.1", port)
    except OSError as error:
        return f"{talk.name}: nobody is at the door: {error}"
    try:
        await asyncio.wait_for(line.over, PATIENCE)
    except TimeoutError:
        line.transport.abort()
    wrong = talk.judge(bytes(line.came))
    return f"{talk.name}: {wrong}: {talk.said[:3000]!r} got {bytes(line.came[:3000])!r}" if wrong else ""


async def _all(port: int, talks: Iterable[Talk], progress: Callable[[int], object]) -> list[str]:
    waiting, wrong = iter(talks), []

    async def take() -> None:
        for talk in waiting:
            found = await _talk(port, talk)
            if found:
                wrong.append(found)
            progress(talk.count)

    await asyncio.gather(*(take() for _ in range(CONNECTIONS)))
    return wrong


def storm(port: int, talks: Iterable[Talk], progress: Callable[[int], object] = lambda count: None) -> list[str]:
    """Have them all, and return what was wrong. ``progress`` is told what each counted as when it is over."""
    return asyncio.run(_all(port, talks, progress))


# -- what may come back

#: ``500`` is no documented answer; neither is anything else that is not here.
STATUSES: Final = frozenset(
    b"100 101 200 202 204 400 401 403 404 405 408 409 410 413 415 421 422 426 429 431 503 504".split()
)
TRACES: Final = re.compile(rb"Traceback|site-packages|\.py\b|/home/|/usr/|Exception")
_STATUS: Final = re.compile(rb"^HTTP/1\.[01] (\d+) ", re.MULTILINE)
#: 1011 is a relay that failed; the others stand in no frame (RFC 6455 section 7.4.1).
_NO_CODES: Final = frozenset({1004, 1005, 1006, 1011, 1015})
_KINDS: Final = frozenset({"registered", "message", "messages", "acked", "result", "authenticated", "pong", "error"})


def judge_http(came: bytes) -> str:
    """Documented answers, without a trace. None is an answer too: the request was not whole, and we hung up."""
    if not came:
        return ""
    if not _STATUS.match(came):
        return "it is no answer"
    unknown = set(_STATUS.findall(came)) - STATUSES
    if unknown:
        return f"undocumented status {min(unknown)!r}"
    return "it shows a trace" if TRACES.search(came) else ""


def judge_frames(came: bytes) -> str:
    """After the upgrade: whole frames of known kinds, and at most one close."""
    if not came.startswith(b"HTTP/1.1 101 "):
        return judge_http(came)
    at = came.index(b"\r\n\r\n") + 4
    while at + 2 <= len(came):
        first, size, begin = came[at], came[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, begin = int.from_bytes(came[begin : begin + width], "big"), begin + width
        payload, at = came[begin : begin + size], begin + size
        if at > len(came):
            return ""  # we hung up in the middle of it
        wrong = _judge_frame(first, payload)
        if wrong:
            return wrong
        if first == 0x88:
            return "" if at == len(came) else "something follows the close"
    return ""


def _judge_frame(first: int, payload: bytes) -> str:
    if first in (0x89, 0x8A):
        return ""
    if first == 0x88:
        code = int.from_bytes(payload[:2], "big")
        sound = not payload or (1000 <= code <= 4999 and code not in _NO_CODES)
        return "" if sound and not TRACES.search(payload) else f"closed with {code} {payload[2:]!r}"
    if first != 0x81:
        return f"a frame that begins with {first:#x}"
    try:
        told = json.loads(payload, parse_int=str)
    except ValueError as error:
        return f"a frame that is not JSON ({error}): {payload[:200]!r}"
    if told.get("type") not in _KINDS:
        return f"a frame of unknown type {payload[:200]!r}"
    if told["type"] == "error" and TRACES.search(payload):
        return f"it shows a trace: {payload[:300]!r}"
    return "internal" if b"/problems/internal" in payload else ""
