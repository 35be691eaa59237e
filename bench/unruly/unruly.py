"""A plugin that goes wrong in each of its hooks. ``bench/chaos.py`` measures what others notice of it."""

from __future__ import annotations

import time
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from relay.extensions import (
    IDeliveryListenerPlugin,
    IMessageFilterPlugin,
    IRelayServicePlugin,
    ISessionListenerPlugin,
    Settings,
)
from relay.kinds import choice

BLOCK: Final = 0.002  #: seconds


def harmed(harm: str) -> Any:
    """Go wrong, or block and go right."""
    match harm:
        case "raises":
            raise RuntimeError("unruly")
        case "hangs":
            return Deferred()
        case "rubbish":
            return 5
        case _:
            time.sleep(BLOCK)
            return None


class Filter:
    """Harms messages for two agents: the one's on their way in, the other's before they are sent."""

    def __init__(self, harm: str) -> None:
        self._harm = harm

    def ingest(self, submission: Any) -> Any:
        return harmed(self._harm) if submission.agent == "victim-in" else None

    def before_send(self, message: Any) -> Any:
        return harmed(self._harm) if message.agent == "victim-out" else None


class Inside(Service):
    """An agent within the relay, that harms what it is sent."""

    def __init__(self, harm: str, relay: Any) -> None:
        self._harm = harm
        self._relay = relay

    def startService(self) -> None:
        super().startService()
        self._relay.attach("victim-inside", lambda _: harmed(self._harm)).addErrback(lambda _: None)


@implementer(IPlugin, IMessageFilterPlugin, ISessionListenerPlugin, IDeliveryListenerPlugin, IRelayServicePlugin)
class Unruly:
    name = "unruly"
    version = "1.0"
    description = "goes wrong in each of its hooks"

    def read(self, settings: dict[str, Any]) -> str:
        table = Settings(settings)
        harm: str = table.take("harm", choice("raises", "hangs", "rubbish", "blocks"))
        table.done()
        return harm

    def filter(self, harm: str, relay: Any) -> Filter:
        return Filter(harm)

    def listener(self, harm: str, relay: Any) -> Any:
        # Of all that happens; but to block at all of that would be no harm, only more than there are seconds.
        return lambda notice: harmed(harm) if harm != "blocks" or notice.agent.startswith("victim") else None

    def service(self, harm: str, relay: Any) -> Inside:
        return Inside(harm, relay)


unruly = Unruly()
