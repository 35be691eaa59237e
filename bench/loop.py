"""Sockets that are ready, and whom to tell: the least that a load generator can stand on.

No transports, no futures, no callbacks in a queue: what the generator spends is missing at the server, which shares
the machine with it.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
WRITABLE = select.EPOLLOUT
CHUNK = 256 * 1024
EVENTS = 1024
LONGEST_SLEEP = 0.5


class Stuck(Exception):
    """The time is over, and what was waited for has not come. The text says how far it came."""


class HasNumber(Protocol):
    """A socket, or any other file."""

    def fileno(self) -> int: ...


class Watched(Protocol):
    """Who is told that a file is ready."""

    @property
    def socket(self) -> HasNumber: ...

    def ready(self, events: int) -> None: ...

    def close(self) -> None: ...


class Loop:
    """One thread's sockets and timers."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._lines: dict[int, Watched] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def watch(self, line: Watched, events: int) -> None:
        number = line.socket.fileno()
        if number in self._lines:
            self._poll.modify(number, events)
        else:
            self._lines[number] = line
            self._poll.register(number, events)

    def forget(self, line: Watched) -> None:
        number = line.socket.fileno()
        del self._lines[number]
        self._poll.unregister(number)

    @staticmethod
    def now() -> float:
        """Seconds, by the clock of ``later``."""
        return time.perf_counter()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.perf_counter() + seconds, next(self._order), call))

    def run(self, done: Callable[[], bool], seconds: float, progress: Callable[[], str]) -> None:
        """Serve the sockets until ``done()``. Raises Stuck after ``seconds``, with what ``progress()`` says."""
        end = time.perf_counter() + seconds
        lines, poll = self._lines, self._poll.poll
        while not done():
            now = time.perf_counter()
            if now > end:
                raise Stuck(f"after {seconds:g} s: {progress()}")
            for number, events in poll(self._pause(now), EVENTS):
                line = lines.get(number)
                # A line that another one's event has closed may still be in this batch.
                if line is not None:
                    line.ready(events)
            while self._timers and self._timers[0][0] <= time.perf_counter():
                heapq.heappop(self._timers)[2]()

    def rest(self, seconds: float) -> None:
        """Serve the sockets for so long."""
        end = time.perf_counter() + seconds
        self.run(lambda: time.perf_counter() >= end, seconds + 60.0, lambda: "a rest does not end")

    def close(self) -> None:
        """Close every socket."""
        for line in list(self._lines.values()):
            line.close()
        self._poll.close()

    def _pause(self, now: float) -> float:
        if not self._timers:
            return LONGEST_SLEEP
        return min(max(self._timers[0][0] - now, 0.0), LONGEST_SLEEP)


class Line:
    """One TCP connection to a port of this machine. A subclass says what ``opened``, ``received`` and ``lost`` mean."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.loop = loop
        self.open = True
        self._opening = True
        self._unsent = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))
        loop.watch(self, READABLE | WRITABLE)

    def opened(self) -> None: ...

    def received(self, data: bytes) -> None: ...

    def lost(self, why: str) -> None: ...

    def send(self, data: bytes) -> None:
        """Write now what the socket takes, and the rest when it takes more."""
        if self._unsent:
            self._unsent += data
            return
        try:
            taken = self.socket.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self._end(str(error))
            return
        if taken < len(data):
            self._unsent = data[taken:]
            self.loop.watch(self, READABLE | WRITABLE)

    def close(self) -> None:
        """Close it from here; ``lost`` is not called."""
        if self.open:
            self.open = False
            self.loop.forget(self)
            self.socket.close()

    def ready(self, events: int) -> None:
        """What the loop calls."""
        if events & WRITABLE:
            self._writable()
        if self.open and events & READABLE:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(str(error))
                return
            if data:
                self.received(data)
            else:
                self._end("closed by the server")

    def _writable(self) -> None:
        if self._opening:
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._end(f"connecting: error {error}")
                return
            self._opening = False
            self.loop.watch(self, READABLE)
            self.opened()
        elif self._unsent:
            rest, self._unsent = self._unsent, b""
            self.loop.watch(self, READABLE)
            self.send(rest)

    def _end(self, why: str) -> None:
        if self.open:
            self.close()
            self.lost(why)
