"""What somebody else promised, as a Deferred."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def later(promise: Awaitable[T]) -> Deferred[T]:
    """``promise`` itself if it is a Deferred, as nearly always: a coroutine around it costs as much as a write."""
    return promise if isinstance(promise, Deferred) else Deferred.fromCoroutine(_kept(promise))


async def _kept(promise: Awaitable[T]) -> T:
    return await promise
