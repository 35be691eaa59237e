"""What an error of the server means for whoever waits for it."""

from __future__ import annotations

from typing import Final

from psycopg import errors

from relay.core.ports import StoreUnavailable
from relay.store.faults import Health, again
from relay_postgres.server import Server

#: After these nothing that the database says can be relied on: somebody has to look at it.
FATAL: Final = (errors.DataCorrupted, errors.IndexCorrupted)

#: Of these one change is the cause, and its neighbours in the batch are well.
OWN_FAULT: Final = (errors.DataError, errors.IntegrityError, UnicodeError)


class ServerHealth(Health):
    """Whether a database can still be relied on. A lost connection does not break it: it is made again."""

    def __init__(self, server: Server) -> None:
        super().__init__(str(server))
        self._server = server

    def judge(self, error: Exception) -> StoreUnavailable:
        """Say what this error means for those who waited for what failed. A fatal one breaks the store."""
        if isinstance(error, StoreUnavailable):
            return error
        told = self._server.told(error)
        if isinstance(error, FATAL):
            return again(self.give_up(told))
        if not isinstance(error, errors.OperationalError):
            self.log.error("{server}: {kind}: {told}", server=str(self._server), kind=type(error).__name__, told=told)
        return StoreUnavailable(f"{self._server}: {told}")
