"""Tells the relay of the plugin ``webhook``. The code is imported only where it is configured."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from relay.extensions import IDeliveryListenerPlugin, IRelayServicePlugin
from relay_webhook import __version__


@implementer(IPlugin, IDeliveryListenerPlugin, IRelayServicePlugin)
class Webhook:
    """A listener, and the service that posts what it heard: ``[extensions.webhook]``."""

    name = "webhook"
    version = __version__
    description = "posts what becomes of messages to a URL, in signed batches"

    def read(self, settings: dict[str, Any]) -> Any:
        from relay_webhook.settings import read

        return read(settings)

    def listener(self, settings: Any, relay: Any) -> Any:
        from relay_webhook.making import courier

        return courier(settings, relay).hear

    def service(self, settings: Any, relay: Any) -> Any:
        from relay_webhook.making import courier

        return courier(settings, relay)


webhook = Webhook()
