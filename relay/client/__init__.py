"""The client library: an agent that receives messages, a publisher that sends them. ``docs/clients.md`` shows all.

Everything that a program needs can be imported from here.
"""

from __future__ import annotations

from relay.client.admin import Admin
from relay.client.agent import Agent
from relay.client.events import Event, Events
from relay.client.feed import Feed
from relay.client.message import Message, Nack
from relay.client.outgoing import Answer, Outgoing
from relay.client.presence import Joined, Parted
from relay.client.publisher import Publisher
from relay.client.refusal import Refusal, Refused, Unreachable
from relay.client.settings import Settings
from relay.client.tokens import Token
from relay.client.views import AgentView, MessageView

__all__ = [
    "Admin",
    "Agent",
    "AgentView",
    "Answer",
    "Event",
    "Events",
    "Feed",
    "Joined",
    "Message",
    "MessageView",
    "Nack",
    "Outgoing",
    "Parted",
    "Publisher",
    "Refusal",
    "Refused",
    "Settings",
    "Token",
    "Unreachable",
]
