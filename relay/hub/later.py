"""What somebody else promised, as a Deferred."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, fail

T = TypeVar("T")
A = TypeVar("A")


def asked(call: Callable[[A], Awaitable[T]], about: A) -> Deferred[T]:
    """What a call comes to; one that raises at once fails like any other."""
    try:
        return later(call(about))
    except Exception:
        return fail()


def later(promise: Awaitable[T]) -> Deferred[T]:
    """``promise`` itself if it is a Deferred, as nearly always: a coroutine around it costs as much as a write."""
    return promise if isinstance(promise, Deferred) else Deferred.fromCoroutine(_kept(promise))


async def _kept(promise: Awaitable[T]) -> T:
    return await promise
