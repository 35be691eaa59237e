"""Where the keys of JSON Web Tokens are kept: a file that is read again, or a URL that is asked again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.auth.files import WatchedFile
from relay.auth.keys import BadKeys, VerifyingKey, from_jwks

#: Between two requests for the set of keys, in seconds, whoever asks for an unknown key.
PAUSE: Final = 60.0
#: The set is asked for anew so often, so that a key that was taken out of it serves no longer.
REFRESH: Final = 600.0
FETCH_SECONDS: Final = 10.0
LARGEST: Final = 1024 * 1024  #: bytes of a set

log = Logger()

Read = Callable[[bytes], list[VerifyingKey]]
Fetch = Callable[[str, int], Awaitable[bytes]]  #: what stands at a URL, of at most so many bytes; any exception


class KeyRing(Protocol):
    """Some keys."""

    keys: list[VerifyingKey]

    def look(self) -> None:
        """Called several times a second: is there anything new?"""

    def reload(self) -> None:
        """Look again in any case."""

    def seek(self) -> Awaitable[bool]:
        """A key was not found. Look for it, if that may be done now, and say afterwards whether these are all keys that
        there are; False: the place where they are kept cannot be reached.
        """

    def on_change(self, call: Callable[[], object]) -> None:
        """Call this when there are other keys."""


class _Ring:
    def __init__(self) -> None:
        self.keys: list[VerifyingKey] = []
        self._calls: list[Callable[[], object]] = []

    def on_change(self, call: Callable[[], object]) -> None:
        self._calls.append(call)

    def _take(self, keys: list[VerifyingKey]) -> None:
        before, self.keys = {key.id for key in self.keys}, keys
        if before != {key.id for key in keys}:
            for call in self._calls:
                call()


class FileRing(_Ring):
    """Keys of a file, which ``read`` makes of its bytes. ``name`` is the setting, for errors."""

    def __init__(self, name: str, path: str, read: Read) -> None:
        """Raises BadKeys when it cannot be used: a relay does not start without its keys."""
        super().__init__()
        self._name = name
        self._file = WatchedFile(path, LARGEST)
        self._made_of = read
        self._take(self._load())

    def look(self) -> None:
        if self._file.changed():
            self.reload()

    def reload(self) -> None:
        try:
            self._take(self._load())
        except BadKeys as error:
            log.error("{error}; the keys read before stay", error=str(error))

    async def seek(self) -> bool:
        return True  # a change of the file is seen without being asked for

    def _load(self) -> list[VerifyingKey]:
        try:
            return self._made_of(self._file.read())
        except ValueError as error:
            raise BadKeys(f"{self._name}: {error}") from None
        except BadKeys as error:
            raise BadKeys(f"{self._name}: {self._file.path}: {error}") from None


class UrlRing(_Ring):
    """Keys of a set at a URL. While that cannot be reached, or makes no sense, the old keys serve."""

    def __init__(self, url: str, fetch: Fetch, clock: IReactorTime) -> None:
        super().__init__()
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._asked_at = -PAUSE
        self._good = False  #: was the last answer a set of keys?
        self._waiting: list[Deferred[bool]] | None = None  #: who waits for the answer that is under way

    def look(self) -> None:
        if self._clock.seconds() - self._asked_at >= (REFRESH if self._good else PAUSE):
            self.reload()

    def reload(self) -> None:
        if self._waiting is None:
            self._ask()

    def seek(self) -> Awaitable[bool]:
        answer: Deferred[bool] = Deferred()
        if self._waiting is None and self._clock.seconds() - self._asked_at >= PAUSE:
            self._ask(answer)
        elif self._waiting is not None:
            self._waiting.append(answer)
        else:
            answer.callback(self._good)
        return answer

    def _ask(self, *waiting: Deferred[bool]) -> None:
        self._asked_at = self._clock.seconds()
        self._waiting = list(waiting)
        work = Deferred.fromCoroutine(self._fetched()).addTimeout(FETCH_SECONDS, self._clock)
        work.addCallbacks(self._answered, self._failed).addBoth(self._tell)

    async def _fetched(self) -> bytes:
        return await self._fetch(self._url, LARGEST)

    def _answered(self, data: bytes) -> bool:
        try:
            keys = from_jwks(data, secrets=False)
        except BadKeys as error:
            log.error("jwt_jwks: {url}: {error}; the old keys serve", url=self._url, error=str(error))
            return False
        self._take(keys)
        return True

    def _failed(self, failure: Failure) -> bool:
        why = f"no answer in {FETCH_SECONDS:g} s" if failure.check(TimeoutError) else failure.getErrorMessage()
        log.error("jwt_jwks: {url} cannot be read: {why}; the old keys serve", url=self._url, why=why[:200])
        return False

    def _tell(self, good: bool | Failure) -> None:
        if isinstance(good, Failure):
            log.failure("reading keys went wrong", good)
        self._good = good is True
        waiting, self._waiting = self._waiting or [], None
        for answer in waiting:
            if not answer.called:
                answer.callback(self._good)
