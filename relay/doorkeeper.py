"""When the doors are open: no newcomer is let in that there is no room for, and everybody who is in stays.

A process that has no file descriptor left cannot even refuse: accept(2) fails, the connection stays in the queue, and
the reactor is woken again at once, for ever. So the ports rest before that, newcomers wait in the kernel's queue, and
the descriptors that are left serve those that are here: the store, callbacks, the log.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from twisted.internet.tcp import _reservedFD
from twisted.logger import Logger

from relay.core.counters import Counters
from relay.core.limits import Limits

#: Newcomers that one port accepts within a turn. Twisted takes 100 and, while a crowd waits, 20 more each time. To
#: accept one is cheap, and they must not stay in the kernel's queue: it holds 4096, forgets after seven seconds whom it
#: has no room for, and cuts those off who are at work already. How many are read, ``edge.channel`` says.
AT_ONCE: Final = 50
#: The doors must have been open for so many looks before that is said: a crowd at the mark opens and closes them.
CALM: Final = 10

log = Logger()


class Doorkeeper:
    """Lets the ports rest while there is no room.

    ``most`` says how many descriptors the process may have, ``open_now`` counts those that it has.
    """

    def __init__(
        self, limits: Limits, counters: Counters, *, most: Callable[[], int], open_now: Callable[[], int]
    ) -> None:
        self.resting = False
        self._limits = limits
        self._counters = counters
        self._most = most
        self._mark = 0
        self._open_now = open_now
        self._connected = 0
        self._others = 0  #: descriptors that are no connections, when they were last counted
        self._ports: list[Any] = []
        self._calm = CALM

    def watch(self, ports: Iterable[Any]) -> None:
        """These are the doors, open from now on; what is no port of Twisted's own opens and closes as it likes."""
        self._mark = self._most() * self._limits.descriptors // 100
        for port in ports:
            if hasattr(port, "numberAccepts"):
                self._ports.append(port)
                # Within one turn Twisted accepts as many as it set out to, whatever was said to it meanwhile.
                port.doRead = partial(self._accept, port, port.doRead)
        self.look()

    def _accept(self, port: Any, accept: Callable[[], object]) -> None:
        port.numberAccepts = max(1, min(port.numberAccepts, self._room(), AT_ONCE))
        before = self._connected
        accept()
        if self._connected == before:
            # Somebody waits and could not be accepted: others may have taken every descriptor since the last look.
            self.look()

    def connections(self, connected: int) -> None:
        """There are so many connections now: called at each that comes or goes."""
        self._connected = connected
        if self._ports and not self.resting and self._room() <= 0:
            self._rest()

    def look(self) -> None:
        """Once a second: count what is no connection, and open the doors again if there is room."""
        if not self._ports:
            return
        self._others = max(0, min(self._open_now(), self._most()) - self._connected)
        if self._room() <= 0:
            if not self.resting:
                self._rest()
            return
        if self.resting:
            self.resting = False
            for port in self._ports:
                if port.connected and not port.disconnecting:
                    port.startReading()
        self._mend()
        self._calm += 1
        if self._calm == CALM:
            log.info("connections are accepted again: {connected} now", connected=self._connected)

    def _mend(self) -> None:
        """Twisted keeps a descriptor in reserve, its way out when there is none left. It is lost when a thread opens a
        file in the instant in which it was given up.
        """
        if not _reservedFD.available():
            _reservedFD.reserve()

    def _room(self) -> int:
        """How many more connections there may be."""
        room = self._mark - self._others - self._connected
        most = self._limits.connections
        return min(room, most - self._connected) if most else room

    def _rest(self) -> None:
        self.resting = True
        for port in self._ports:
            port.stopReading()
        limit = "connections" if 0 < self._limits.connections <= self._connected else "descriptors"
        self._counters.reached(limit)
        if self._calm >= CALM:
            log.warn(
                "newcomers must wait: {connected} connections and {others} other descriptors ({limit})",
                connected=self._connected,
                others=self._others,
                limit=limit,
            )
        self._calm = 0


def descriptors_open() -> int:
    """How many files and sockets this process has open; 0 where that cannot be told."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # not the one that is open for this
        except OSError as error:
            if error.errno == errno.EMFILE:
                return sys.maxsize  # there is not even one for this
    return 0
