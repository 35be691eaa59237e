"""One connection to the broker: paho's client speaks, and the reactor tells it when its socket can be read or written.

Only the connecting itself, which waits for names, sockets and TLS, is done in a thread; until that has come back nobody
else touches the client. There is a new client for each connection: what was under way on the old one is not its
business, because the relay gives it to us again (and so does the broker).
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as Pack
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from relay_mqtt.driver import Driver
from relay_mqtt.ports import Answer, Arrived, Leaving, Listener, Properties, Welcome
from relay_mqtt.settings import Mqtt

#: Beside its payload: a topic, properties, and a head. A larger packet the broker does not send us.
ROOM: Final = 128 * 1024
HEAD: Final = 16  #: bytes of a PUBLISH beside its topic, its properties and its payload, at most
GOODBYE: Final = 1.0  #: seconds for what waits to be written, and the DISCONNECT behind it

TOO_LARGE: Final = Answer(0x95, "Packet too large")
SESSION_TAKEN_OVER: Final = 0x8E


class State(enum.Enum):
    """How far a connection is."""

    NEW = "new"
    CONNECTING = "connecting"  #: in the thread
    GREETING = "greeting"  #: until CONNACK and SUBACK came
    UP = "up"
    CLOSING = "closing"  #: goodbye is said
    OVER = "over"


class PahoLink:
    """Implements Link. ``context`` is for TLS, ``password`` is asked at each connection (in the thread)."""

    def __init__(
        self,
        settings: Mqtt,
        reactor: Any,
        listener: Listener,
        *,
        payload: int,
        context: ssl.SSLContext | None,
        password: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._listener = listener
        self._most = payload + ROOM
        self._password = password
        self._state = State.NEW
        self._deadline: IDelayedCall | None = None
        self._pending: dict[int, Deferred[Answer]] = {}  #: by packet identifier
        self._packet: int | None = None  #: the largest that the broker takes
        self._retains = True  #: does the broker retain anything at all?
        self._client = self._made(context)
        self._driver = Driver(self._client, reactor, self._over)

    # -- what Link promises

    def open(self) -> None:
        self._state = State.CONNECTING
        # Not one of the reactor's: when it stops it waits for those, and this may take its time.
        Thread(target=self._connect_aside, name="relay-mqtt", daemon=True).start()

    def publish(self, leaving: Leaving) -> Deferred[Answer]:
        if self._state not in (State.GREETING, State.UP):
            return fail(ConnectionError("the connection to the broker is closed"))
        pack = packed(leaving.properties)
        size = len(leaving.payload) + len(leaving.topic.encode()) + len(pack.pack()) + HEAD
        if self._packet is not None and size > self._packet:
            return succeed(TOO_LARGE)
        retain = self._settings.retain and self._retains
        sent = self._client.publish(leaving.topic, leaving.payload, qos=1, retain=retain, properties=pack)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return fail(ConnectionError(f"the broker is not told: {sent.rc.name}"))
        self._pending[sent.mid] = told = Deferred[Answer]()
        return told

    def acknowledge(self, number: int) -> None:
        if self._state in (State.GREETING, State.UP):
            self._client.ack(number, 1)

    def hold(self, holding: bool) -> None:
        self._driver.hold(holding)

    def close(self) -> None:
        if self._state in (State.GREETING, State.UP):
            self._state = State.CLOSING
            self._set_deadline(GOODBYE, "it took no goodbye")
            self._client.disconnect()
        elif self._state is not State.CLOSING:
            self._over("it was closed")

    # -- the beginning

    def _made(self, context: ssl.SSLContext | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            transport="unix" if self._settings.broker.socket else "tcp",
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = self._settings.connect_seconds
        client.max_inflight_messages = 0  # as many as the relay gives us, which is bounded
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _connect_aside(self) -> None:
        try:
            self._connect()
        except Exception:
            self._reactor.callFromThread(self._not_opened, Failure())
        else:
            self._reactor.callFromThread(self._adopt)

    def _connect(self) -> None:
        """In the thread. Raises OSError (of TLS too), or what cannot be read of the password."""
        settings = self._settings
        asked = Pack(PacketTypes.CONNECT)
        asked.SessionExpiryInterval = settings.session_seconds
        asked.ReceiveMaximum = settings.in_flight
        asked.MaximumPacketSize = self._most
        if settings.user:
            self._client.username_pw_set(settings.user, self._password())
        broker = settings.broker
        self._client.connect_async(
            broker.socket or broker.host, broker.port or 1, settings.keepalive, clean_start=False, properties=asked
        )
        self._client.reconnect()

    def _adopt(self) -> None:
        """Back from the thread: from now on the reactor looks after the socket."""
        self._driver.start()
        if self._state is not State.CONNECTING:
            self._driver.stop()  # it was closed meanwhile
            return
        self._state = State.GREETING
        self._set_deadline(self._settings.connect_seconds, "it does not greet in time")

    def _not_opened(self, failure: Failure) -> None:
        self._over(f"{type(failure.value).__name__}: {failure.getErrorMessage()}")

    # -- what paho tells; all of it while it is called by us

    def _on_connect(self, _client: Any, _: Any, flags: ConnectFlags, reason: ReasonCode, about: Any) -> None:
        if reason.is_failure:
            self._over(f"it refuses us: {reason}")
            return
        if getattr(about, "MaximumQoS", 1) == 0:
            self._over("it takes nothing with QoS 1")
            return
        self._packet = getattr(about, "MaximumPacketSize", None)
        self._retains = getattr(about, "RetainAvailable", 1) == 1
        options = SubscribeOptions(
            qos=1,
            noLocal=True,
            retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            if self._settings.take_retained
            else SubscribeOptions.RETAIN_DO_NOT_SEND,
        )
        self._client.subscribe(f"{self._settings.prefix}/to/#", options=options)
        self._listener.connected(Welcome(flags.session_present, getattr(about, "ReceiveMaximum", 65_535)))

    def _on_subscribe(self, _client: Any, _: Any, _number: int, reasons: list[ReasonCode], _about: Any) -> None:
        # With less than QoS 1 it would keep nothing for us.
        refused = [reason for reason in reasons if reason.is_failure or reason.value == 0]
        if refused:
            self._over(f"we may not subscribe to {self._settings.prefix}/to/# with QoS 1: {refused[0]}")
        elif self._state is State.GREETING:
            self._state = State.UP
            self._cancel_deadline()
            self._listener.subscribed()

    def _on_message(self, _client: Any, _: Any, message: MQTTMessage) -> None:
        if self._state in (State.GREETING, State.UP):
            self._listener.arrived(unpacked(message))

    def _on_publish(self, _client: Any, _: Any, number: int, reason: ReasonCode, _about: Any) -> None:
        told = self._pending.pop(number, None)
        if told is not None:
            told.callback(Answer(reason.value, str(reason)))

    def _on_disconnect(self, _client: Any, _: Any, flags: DisconnectFlags, reason: ReasonCode, _about: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._over(f"it says: {reason}", taken_over=reason.value == SESSION_TAKEN_OVER)
        else:
            self._over("the connection was closed" if reason.value == 0 else f"the connection was lost: {reason}")

    # -- the end

    def _over(self, why: str, *, taken_over: bool = False) -> None:
        if self._state is State.OVER:
            return
        self._state = State.OVER
        self._cancel_deadline()
        self._driver.stop()
        self._listener.lost(why, taken_over=taken_over)
        pending, self._pending = self._pending, {}
        for told in pending.values():
            told.errback(ConnectionError(why))

    def _set_deadline(self, seconds: float, why: str) -> None:
        self._cancel_deadline()
        self._deadline = self._reactor.callLater(seconds, self._too_late, why)

    def _too_late(self, why: str) -> None:
        self._deadline = None
        self._over(why)

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()


def packed(properties: Properties) -> Pack:
    """Properties of a PUBLISH as paho has them."""
    pack = Pack(PacketTypes.PUBLISH)
    if properties.expiry is not None:
        pack.MessageExpiryInterval = min(properties.expiry, 0xFFFF_FFFF)
    if properties.content_type:
        pack.ContentType = properties.content_type
    if properties.text:
        pack.PayloadFormatIndicator = 1
    if properties.correlation:
        pack.CorrelationData = properties.correlation
    if properties.user:
        pack.UserProperty = list(properties.user)
    return pack


def unpacked(message: MQTTMessage) -> Arrived:
    """A PUBLISH as paho has it."""
    given: Any = message.properties
    properties = Properties(
        expiry=getattr(given, "MessageExpiryInterval", None),
        content_type=getattr(given, "ContentType", ""),
        text=getattr(given, "PayloadFormatIndicator", 0) == 1,
        response_topic=getattr(given, "ResponseTopic", ""),
        correlation=getattr(given, "CorrelationData", b""),
        user=tuple(getattr(given, "UserProperty", ())),
    )
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = ""
    number = message.mid if message.qos else 0
    return Arrived(topic, bytes(message.payload), number, message.dup, message.retain, properties)


def read_password(file: str) -> str:
    """The password in a file. Raises OSError, UnicodeDecodeError."""
    return Path(file).read_text("utf-8").strip("\r\n")
