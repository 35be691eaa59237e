"""A device on the far side of the broker: what it publishes, and what it hears."""

from __future__ import annotations

import queue
import threading
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.servers.mosquitto import Mosquitto

PATIENCE = 30.0


class Device:
    """Subscribed to everything that goes out. ``version`` 3 speaks MQTT 3.1.1."""

    def __init__(self, broker: Mosquitto, version: int = 5) -> None:
        self._heard: queue.Queue[MQTTMessage] = queue.Queue()
        self._ready = threading.Event()
        self._version = MQTTProtocolVersion.MQTTv5 if version == 5 else MQTTProtocolVersion.MQTTv311
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=self._version, transport="unix")
        self._client.on_message = lambda _client, _userdata, message: self._heard.put(message)
        self._client.on_connect = lambda client, *_: client.subscribe("relay/from/#", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect(str(broker.socket))
        self._client.loop_start()
        assert self._ready.wait(PATIENCE), "the broker does not take a subscription"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # It keeps the pair of sockets that woke its thread, for its own end to close. That is too late: client and
        # device refer to each other, and a collection may look at the open sockets before it ends the client.
        self._client.reinitialise()

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False, **properties: Any
    ) -> None:
        """Publish it and wait until the broker has it."""
        pack = None
        if properties:
            pack = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(pack, name, value)
        self._client.publish(topic, payload, qos, retain, pack).wait_for_publish(PATIENCE)

    def next(self) -> MQTTMessage:
        """The next message that went out."""
        return self._heard.get(timeout=PATIENCE)

    def nothing_more(self) -> None:
        assert self._heard.empty()
