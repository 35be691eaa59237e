"""Puts the courier together, from the files that the settings name. The only place that reads them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from relay.core.webhooks import read_secret
from relay.extensions import SettingsError
from relay_webhook.courier import Courier
from relay_webhook.sender import TreqSender, make_agent, read_trust
from relay_webhook.settings import Webhook

MOST_SECRETS: Final = 10
SECRET_WORDS: Final = (
    f"a file with 1 to {MOST_SECRETS} secrets, one a line: whsec_ and the base64 of 24 to 64 random bytes"
)

#: The listener and the service of one relay are the same object.
_couriers: Final[WeakKeyDictionary[Any, Courier]] = WeakKeyDictionary()


def courier(settings: Webhook, relay: Any) -> Courier:
    """The courier of this relay; made when it is first asked for. Raises SettingsError: a file cannot be used."""
    if relay not in _couriers:
        _couriers[relay] = _make(settings, relay)
    return _couriers[relay]


def _make(settings: Webhook, relay: Any) -> Courier:
    agent, close = make_agent(relay.reactor, _trust(settings.ca_file) if settings.ca_file else None)
    sender = TreqSender(
        agent,
        settings.url,
        clock=relay.reactor,
        wall=relay.wall,
        secrets=_secrets(settings.secret_file) if settings.secret_file else (),
        timeout=settings.timeout,
        close=close,
    )
    return Courier(settings, relay, sender, random.SystemRandom())


def _trust(file: str) -> Any:
    allowed = "a file with certificates in PEM"
    try:
        return read_trust(Path(file).read_bytes())
    except OSError as error:
        raise SettingsError("ca_file", file, f"{allowed} ({error.strerror})") from None
    except ValueError as error:
        raise SettingsError("ca_file", file, f"{allowed} ({error})") from None


def _secrets(file: str) -> tuple[bytes, ...]:
    try:
        secrets = tuple(read_secret(line) for line in Path(file).read_text(encoding="ascii").split())
    except OSError as error:
        raise SettingsError("secret_file", file, f"{SECRET_WORDS} ({error.strerror})") from None
    except ValueError:
        secrets = ()
    if not 0 < len(secrets) <= MOST_SECRETS:
        raise SettingsError("secret_file", file, SECRET_WORDS)
    return secrets
