"""Where third parties take part: the interfaces that a plugin provides, and what it is given.

A plugin is an object in a module of the package ``relay.plugins`` that provides ``twisted.plugin.IPlugin`` and one of
the interfaces here. It is only a description: nothing of it runs but for ``read``, until it is named in the
configuration (``[extensions.NAME]``). ``docs/extend.md`` walks through writing one.
"""

from msgspec.structs import replace

from relay.core.access import Grant, TokenRefused, TokensUnavailable, TokenUnknown
from relay.core.model import Form, Message, Notice, Outcome, Submission
from relay.core.ports import MessageStore, TokenProvider
from relay.core.problems import Problem
from relay.extensions.inside import Received
from relay.extensions.interfaces import (
    IAuthenticatorPlugin,
    IDeliveryListenerPlugin,
    IHttpPlugin,
    IMessageFilterPlugin,
    IMessageStorePlugin,
    IRelay,
    IRelayPlugin,
    IRelayServicePlugin,
    ISessionListenerPlugin,
)
from relay.extensions.settings import Settings, SettingsError

__all__ = [
    "Form",
    "Grant",
    "IAuthenticatorPlugin",
    "IDeliveryListenerPlugin",
    "IHttpPlugin",
    "IMessageFilterPlugin",
    "IMessageStorePlugin",
    "IRelay",
    "IRelayPlugin",
    "IRelayServicePlugin",
    "ISessionListenerPlugin",
    "Message",
    "MessageStore",
    "Notice",
    "Outcome",
    "Problem",
    "Received",
    "Settings",
    "SettingsError",
    "Submission",
    "TokenProvider",
    "TokenRefused",
    "TokenUnknown",
    "TokensUnavailable",
    "replace",
]
