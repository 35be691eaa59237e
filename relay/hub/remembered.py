"""The ends of messages that were never durable: the newest of them, in memory, and as little of it as may be."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from relay.core.landed import Landed
from relay.core.model import Past

#: Ends that are packed together: so many that what they have in common counts once, and so few that it is done within
#: half a millisecond. More of them would not become smaller.
PAGE: Final = 256
PAGE_SHARE: Final = 64  #: a page is at most this part of all that may be remembered
PAGE_BYTES: Final = 500  #: beside what is packed

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[list[Landed], list[Past]]).decode


class Page(NamedTuple):
    """Ends that came one after the other."""

    first: str  #: the lowest id …
    last: str  #: … and the highest: ids begin with the time, so hardly any page but the right one is looked through
    marks: bytes  #: ``marks_of`` the ids
    ends: int
    packed: bytes  #: without the replies: to pack those would take longer than all else
    replies: dict[str, bytes]
    size: int


class Remembered:
    """The last ``most`` of them, and at most ``most_bytes`` with their replies: the oldest are given up first.

    As objects they would take 300 to 700 bytes each, packed they take 50 to 80, and there are 100,000. ``most`` is
    exceeded by what is given up together with the next to go.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._page = min(PAGE, max(1, most // PAGE_SHARE))
        self._page_bytes = most_bytes // PAGE_SHARE
        self._newest: dict[str, Past | Landed] = {}  #: not packed yet
        self._newest_bytes = 0  #: of their replies
        self._pages: deque[Page] = deque()  #: the oldest first
        self._count = 0  #: in the pages …
        self._bytes = 0  #: … and what they take

    def add(self, past: Past | Landed) -> None:
        """Remember it."""
        self._newest[past.id] = past
        if past.reply is not None:
            self._newest_bytes += len(past.reply)
        if len(self._newest) >= self._page or self._newest_bytes > self._page_bytes:
            self._pack()

    def add_all(self, landed: Sequence[Landed]) -> None:
        """The same for several."""
        for at in range(0, len(landed), self._page):
            some = landed[at : at + self._page]
            self._newest.update([(each.id, each) for each in some])
            self._newest_bytes += sum([len(each.reply) for each in some if each.reply is not None])
            if len(self._newest) >= self._page or self._newest_bytes > self._page_bytes:
                self._pack()

    def _pack(self) -> None:
        pasts, self._newest, self._newest_bytes = list(self._newest.values()), {}, 0
        replies = {past.id: past.reply for past in pasts if past.reply is not None}
        bare = [replace(past, reply=None) if past.reply is not None else past for past in pasts] if replies else pasts
        ids = [past.id for past in pasts]
        landed = [past for past in bare if isinstance(past, Landed)]
        others = [past for past in bare if not isinstance(past, Landed)] if len(landed) < len(bare) else []
        packed, marks = zlib.compress(_encode((landed, others)), 1), marks_of(*ids)
        size = len(packed) + len(marks) + PAGE_BYTES + sum(map(len, replies.values()))
        self._pages.append(Page(min(ids), max(ids), marks, len(ids), packed, replies, size))
        self._count += len(ids)
        self._bytes += size
        while len(self._pages) > 1 and (
            self._count - self._pages[0].ends >= self._most or self._bytes > self._most_bytes
        ):
            oldest = self._pages.popleft()
            self._count -= oldest.ends
            self._bytes -= oldest.size

    def get(self, id: str) -> Past | Landed | None:
        """The end of that message, if it is remembered."""
        if id in self._newest:
            return self._newest[id]
        mark = marks_of(id)
        for page in reversed(self._pages):
            if page.first <= id <= page.last and mark in page.marks:
                landed, others = _decode(zlib.decompress(page.packed))
                pasts: Iterator[Landed | Past] = chain(landed, others)
                for past in pasts:
                    if past.id == id:
                        return replace(past, reply=page.replies.get(id))
        return None


def marks_of(*ids: str) -> bytes:
    """Four bytes of each id, which hardly any other has."""
    return struct.pack(f"{len(ids)}I", *[hash(id) & 0xFFFFFFFF for id in ids])
