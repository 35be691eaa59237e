"""Puts the bridge together, from the files that the settings name."""

from __future__ import annotations

import random
import ssl
from functools import partial
from typing import Any

from relay.extensions import SettingsError
from relay_mqtt.bridge import Bridge
from relay_mqtt.link import PahoLink, read_password
from relay_mqtt.ports import Link, Listener
from relay_mqtt.settings import Mqtt


def bridge(settings: Mqtt, relay: Any) -> Bridge:
    """The bridge of this relay. Raises SettingsError: a file cannot be used.

    A password is read again at each connection, so that a changed one needs no restart; certificates are read once.
    """
    context = _context(settings) if settings.broker.tls else None
    password = partial(read_password, settings.password_file) if settings.password_file else lambda: None
    _tried("password_file", settings.password_file, "a file with a password in UTF-8", password)

    def link(listener: Listener) -> Link:
        return PahoLink(
            settings, relay.reactor, listener, payload=relay.limits.payload, context=context, password=password
        )

    return Bridge(settings, relay, link, random.SystemRandom())


def _context(settings: Mqtt) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file:
        context = _tried(
            "ca_file",
            settings.ca_file,
            "a file with certificates in PEM",
            partial(ssl.create_default_context, cafile=settings.ca_file),
        )
    if settings.certificate_file:
        load = partial(context.load_cert_chain, settings.certificate_file, settings.key_file or None, password="")
        _tried("certificate_file", settings.certificate_file, "a file with a certificate and its key in PEM", load)
    return context


def _tried(key: str, file: str, allowed: str, read: Any) -> Any:
    """What comes of reading a file; an error names its key."""
    try:
        return read()
    except OSError as error:  # ssl.SSLError is one too
        raise SettingsError(key, file, f"{allowed} ({error.strerror or error})") from None
    except ValueError as error:
        raise SettingsError(key, file, f"{allowed} ({error})") from None
