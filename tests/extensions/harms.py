"""The table of what plugins can do wrong: each of their hooks, each of four harms. A test says which it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail, succeed

T = TypeVar("T", bound=Callable[..., None])

HARMS: Final = ("raises", "hangs", "returns rubbish", "blocks")

#: What is called once, at the start …
MAKERS: Final = ("read", "provider", "store", "filter", "listener", "app", "service")
#: … and what is called while the relay runs.
HOOKS: Final = (
    *("known", "check", "still", "on_change"),
    "write",
    *("ingest", "before_send"),
    *("session listener", "delivery listener"),
    "route",
    *("startService", "stopService"),
    *("handler", "lost", "look", "reload"),
)

covered: Final[set[tuple[str, str]]] = set()


def about(*hooks: str, harms: tuple[str, ...] = HARMS) -> Callable[[T], T]:
    """The test shows what these harms do in these hooks."""

    def note(test: T) -> T:
        covered.update((hook, harm) for hook in hooks for harm in harms)
        return test

    return note


BLOCK: Final = 0.5  #: seconds


class Blocking:
    """A hook that blocks: time passes while it is called, and nothing else happens. Then it lets everything pass."""

    def __init__(self, *clocks: Any, answer: Any = None) -> None:
        self.calls = 0
        self._clocks = clocks
        self._answer = answer

    def __call__(self, *_: Any) -> Any:
        self.calls += 1
        for clock in self._clocks:
            clock.rightNow += BLOCK
        return self._answer


def boom(*_: Any) -> Any:
    raise RuntimeError("chaos")


#: One of each that can be done wherever something is called; its answer is nothing that anybody asked for.
ANYWHERE: Final[dict[str, Callable[..., Any]]] = {
    "raises": boom,
    "fails later": lambda *_: fail(RuntimeError("chaos")),
    "hangs": lambda *_: Deferred(),
    "hangs even when it is cancelled": lambda *_: Deferred(lambda _: None),
    "fails when it is cancelled": lambda *_: Deferred(boom),
    "a number": lambda *_: 5,
    "a Deferred of rubbish": lambda *_: succeed(5),
}
