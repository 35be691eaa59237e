"""Tells the relay of the plugin ``mqtt``. The code is imported only where it is configured."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from relay.extensions import IRelayServicePlugin
from relay_mqtt import __version__


@implementer(IPlugin, IRelayServicePlugin)
class Mqtt:
    """A service: ``[extensions.mqtt]``."""

    name = "mqtt"
    version = __version__
    description = "bridges a tree of MQTT topics and agents, both ways"

    def read(self, settings: dict[str, Any]) -> Any:
        from relay_mqtt.settings import read

        return read(settings)

    def service(self, settings: Any, relay: Any) -> Any:
        from relay_mqtt.making import bridge

        return bridge(settings, relay)


mqtt = Mqtt()
