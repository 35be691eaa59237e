"""The table ``[extensions.mqtt]``, read. Files are not touched here: that is for when it is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from relay.core.ids import is_agent_id
from relay.extensions import Settings, SettingsError
from relay.kinds import Kind, count, flag, seconds, text

WEEK: Final = 7 * 86_400
LOCAL: Final = re.compile(r"localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|::1")
PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is. With a ``socket`` (a path) it is on this machine, and host and port say nothing."""

    host: str
    port: int
    tls: bool
    socket: str = ""

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Mqtt:
    """What is bridged, and how. Times in seconds."""

    broker: Broker
    prefix: str  #: of the topics; ``PREFIX/to/AGENT`` comes in, ``PREFIX/from/PUBLISHER`` goes out
    agent: str  #: who is sent what shall go out; empty: nothing does
    client_id: str  #: the broker keeps what comes while we are away under this name
    user: str
    password_file: str
    ca_file: str  #: who vouches for the broker's certificate; empty: whom this machine trusts
    certificate_file: str  #: ours, for a broker that asks for one …
    key_file: str  #: … and its key, where that is in a file of its own
    content_type: str  #: of what comes without one; empty: JSON if it is, else bytes
    take_retained: bool  #: does what was retained before we subscribed come in?
    retain: bool  #: does the broker retain what goes out?
    in_flight: int  #: undecided messages, each way
    session_seconds: int  #: so long the broker keeps what comes while we are away
    keepalive: int
    connect_seconds: float  #: for the name, the connection and TLS, each; and again for the broker's greeting
    stop_seconds: float  #: for what is under way when the relay stops


def _broker(value: Any) -> Broker:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,2000}", value):
        raise ValueError
    parts = urlsplit(value)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError
    if parts.scheme == "mqtt+unix" and not parts.netloc and len(parts.path) > 1:
        return Broker("", 0, False, parts.path)
    # A port that is none raises ValueError by itself.
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or parts.port == 0:
        raise ValueError
    return Broker(parts.hostname, parts.port or PORTS[parts.scheme], parts.scheme == "mqtts")


def _agent(value: Any) -> str:
    if not isinstance(value, str) or not (value == "" or is_agent_id(value)):
        raise ValueError
    return value


URL: Final = Kind(
    _broker,
    "mqtts://HOST, mqtt://HOST or mqtt+unix:///PATH, perhaps with a port, and without a user or a password",
    secret=True,  # somebody may have written a password into it all the same
)
PREFIX: Final = text(
    r"(?=.{1,200}\Z)[^\0-\x20+#$/][^\0-\x20+#/]*(?:/[^\0-\x20+#/]+)*",
    "topic levels without blanks, '+' and '#', 200 characters at most, no '$' or '/' in front and no '/' behind",
)
FILE: Final = r"[^\0-\x1f]+"
TYPE: Final = text(r"[!-~]+/[ -~]{1,200}", "a media type, such as text/plain")


def read(table: dict[str, Any]) -> Mqtt:
    """Raises SettingsError."""
    settings = Settings(table)
    broker = settings.take("url", URL)
    plain = settings.take("plain_text", flag(), False)
    mqtt = Mqtt(
        broker=broker,
        prefix=settings.take("prefix", PREFIX, "relay"),
        agent=settings.take("agent", Kind(_agent, "an agent id, or nothing where nothing goes out"), "mqtt"),
        client_id=settings.take("client_id", text(r"[!-~]{1,128}", "1 to 128 visible characters"), "relay"),
        user=settings.take("user", text(r"[^\0-\x1f]{1,255}", "a name of 1 to 255 characters"), ""),
        password_file=settings.take("password_file", text(FILE, "the path of a file with a password"), ""),
        ca_file=settings.take("ca_file", text(FILE, "the path of a file with certificates in PEM"), ""),
        certificate_file=settings.take("certificate_file", text(FILE, "the path of a certificate in PEM"), ""),
        key_file=settings.take("key_file", text(FILE, "the path of its key in PEM"), ""),
        content_type=settings.take("content_type", TYPE, ""),
        take_retained=settings.take("take_retained", flag(), False),
        retain=settings.take("retain", flag(), False),
        in_flight=settings.take("in_flight", count(1, 1000), 100),
        session_seconds=settings.take("session_seconds", count(60, 0xFFFF_FFFE), WEEK),
        keepalive=settings.take("keepalive", count(5, 3600), 30),
        connect_seconds=settings.take("connect_seconds", seconds(1, 60), 10.0),
        stop_seconds=settings.take("stop_seconds", seconds(0, 30), 3.0),
    )
    settings.done()
    _check(mqtt, plain)
    return mqtt


def _check(mqtt: Mqtt, plain: bool) -> None:
    """What no single value can say. Raises SettingsError."""
    broker = mqtt.broker
    if not broker.tls:
        if not plain and not broker.socket and not LOCAL.fullmatch(broker.host):
            raise SettingsError("url", None, "mqtts, or mqtt on this machine; plain_text = true lifts this")
        for key in ("ca_file", "certificate_file"):
            if getattr(mqtt, key):
                raise SettingsError(key, getattr(mqtt, key), "only where url is mqtts")
    if mqtt.key_file and not mqtt.certificate_file:
        raise SettingsError("key_file", mqtt.key_file, "only beside certificate_file")
    if mqtt.password_file and not mqtt.user:
        raise SettingsError("password_file", mqtt.password_file, "only beside user")
