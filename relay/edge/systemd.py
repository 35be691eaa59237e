"""Tells the service manager how we are: one datagram to ``$NOTIFY_SOCKET`` (sd_notify(3))."""

from __future__ import annotations

import socket

from twisted.logger import Logger

log = Logger()


def notify(address: str | None, *lines: str) -> None:
    """Send ``lines`` such as ``READY=1`` to the socket at ``address`` (``@name``: an abstract one); None: to nobody.

    A manager that does not take it is no reason to fail: it is logged.
    """
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        log.warn("the service manager was not told {lines}: {error}", lines=lines, error=error)
