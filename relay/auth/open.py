"""No authentication: everybody may do everything. The doors are then open to this machine alone (``config.py``)."""

from __future__ import annotations

from collections.abc import Callable

from relay.core.access import OPEN, Grant


class OpenHouse:
    """Implements ``relay.core.ports.Authenticator``. A token that comes all the same is not looked at."""

    nobody: Grant | None = OPEN

    def known(self, token: str | None) -> Grant | None:
        return OPEN

    async def check(self, token: str | None, peer: str) -> Grant:
        return OPEN

    def still(self, grant: Grant) -> Grant | None:
        return grant

    def on_change(self, call: Callable[[], object]) -> None:
        pass  # nothing ever does
