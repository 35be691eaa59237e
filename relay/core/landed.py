"""What became of a message that was sent when it came, and acknowledged, as nearly all are: in as little as may be."""

from __future__ import annotations

from relay.core.model import Event, Past, Status, Value


class Landed(Value, frozen=True, array_like=True):
    """The end of a message that was accepted and sent at once, only held in memory, and delivered the first time.

    All that a ``Past`` says of it, in short: so most of them end.
    """

    id: str
    agent: str
    publisher: str
    created_at: float
    expires_at: float
    session: str
    ended_at: float
    reply: bytes | None = None

    def in_full(self, node: str) -> Past:
        """The same as of any other, on that node."""
        timeline = (
            *launch(self.created_at, self.session, node),
            Event(self.ended_at, Status.DELIVERED.value, self.session, node),
        )
        times = (self.created_at, self.expires_at, self.ended_at)
        return Past(self.id, self.agent, self.publisher, Status.DELIVERED, "", 1, *times, self.reply, timeline)


def launch(at: float, session: str, node: str) -> tuple[Event, Event]:
    """What happened to a message that was accepted and sent at once, at that Unix time."""
    return Event(at, "accepted", None, node), Event(at, "sent", session, node)
