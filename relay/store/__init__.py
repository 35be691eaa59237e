"""Durable memory: the stores, and how a URL names one."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from relay.core.ports import MessageStore
from relay.store.memory import MemoryStore
from relay.store.retention import DEFAULTS, Bounds
from relay.store.sqlite import SqliteStore

ALLOWED = "allowed are sqlite:FILE and memory:"


def open_store(
    url: str,
    *,
    reactor: IReactorFromThreads,
    clock: IReactorTime,
    wall: Callable[[], float],
    reserve_bytes: int = 8 * 1024 * 1024,
    min_free_bytes: int = 64 * 1024 * 1024,
    bounds: Bounds = DEFAULTS,
) -> MessageStore:
    """The store that ``url`` names: ``sqlite:relay.db``, ``sqlite:/var/lib/relay/relay.db`` or ``memory:``.

    Nothing is touched before its ``open`` is called. ``wall`` gives Unix time. ``reserve_bytes`` and
    ``min_free_bytes`` are for a store on a disk: the size of the reserve file, and the free space below which no new
    message is taken. ``bounds`` say how much is kept. Raises ValueError, with what is allowed, for any other URL.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon:
        if rest:
            raise ValueError(f"store {url!r}: nothing may follow 'memory:'; {ALLOWED}")
        return MemoryStore(wall=wall, secret=secrets.token_bytes(32), bounds=bounds)
    if scheme == "sqlite" and rest and not rest.startswith("//"):
        return SqliteStore(
            rest,
            reactor=reactor,
            clock=clock,
            wall=wall,
            reserve_bytes=reserve_bytes,
            min_free_bytes=min_free_bytes,
            bounds=bounds,
        )
    if scheme == "sqlite":
        raise ValueError(f"store {url!r}: no file is named, or it begins with '//'; {ALLOWED}, with one '/' or none")
    if scheme == "redis":
        raise ValueError(f"store {url!r}: the Redis store is not built yet; {ALLOWED}")
    raise ValueError(f"store {url!r}: unknown kind of store; {ALLOWED}")
