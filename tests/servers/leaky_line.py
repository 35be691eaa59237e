"""A line to the broker that can swallow what the bridge says, and break."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class LeakyLine:
    """Listens on a socket of its own, and passes on to another. ``swallow`` what goes there, or ``cut`` every line."""

    def __init__(self, to: Path, at: Path) -> None:
        self.swallowing = False
        self.swallowed = threading.Event()
        self._to = str(to)
        self._ends: list[socket.socket] = []
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(at))
        self._door.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.socket(socket.AF_UNIX)
                self._ends += [near, far]
                far.connect(self._to)
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if upwards and self.swallowing:
                    self.swallowed.set()
                else:
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def swallow(self, swallowing: bool) -> None:
        self.swallowing = swallowing
        self.swallowed.clear()

    def cut(self) -> None:
        """Break every line: both sides see the end."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()
