"""The client library: an agent that receives messages, a publisher that sends them. ``docs/clients.md`` shows both.

Everything that a program needs can be imported from here.
"""

from __future__ import annotations

from relay.client.agent import Agent, Joined, Parted, Settings
from relay.client.door import Refusal, Refused, Unreachable
from relay.client.message import Message, Nack
from relay.client.publisher import Answer, Publisher

__all__ = [
    "Agent",
    "Answer",
    "Joined",
    "Message",
    "Nack",
    "Parted",
    "Publisher",
    "Refusal",
    "Refused",
    "Settings",
    "Unreachable",
]
