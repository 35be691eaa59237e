"""Topics of one agent: a newer message replaces an older one that was not delivered (protocol 2.3 'Topic')."""

from __future__ import annotations

from relay.core.entry import Entry, Phase
from relay.core.model import Message


class Topics:
    """Which messages that a line has in mind share a topic.

    While ``replacing`` is not 0, a message that replaces others is on its way into the store, and the line sends
    nothing: it might send what is just being replaced.
    """

    __slots__ = ("_by_topic", "_entries", "_sweep_at", "replacing")

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.replacing = 0
        self._entries = entries
        self._by_topic: dict[str, list[Entry]] = {}
        self._sweep_at = 64

    def describe(self, entry: Entry, message: Message) -> None:
        """Note what an entry is about, if that is not known yet."""
        known, entry.topic, entry.publisher = entry.topic, message.topic, message.publisher
        if message.topic is not None and message.topic != known:
            self._by_topic.setdefault(message.topic, []).append(entry)
            if len(self._by_topic) > self._sweep_at:
                self._sweep()

    def others(self, entry: Entry) -> list[Entry]:
        """The other messages of its topic that have not ended, as far as the line has them in mind."""
        if entry.topic is None:
            return []
        alive = self._by_topic[entry.topic] = self._alive(self._by_topic.get(entry.topic, []))
        return [other for other in alive if other is not entry]

    def _alive(self, entries: list[Entry]) -> list[Entry]:
        return [entry for entry in entries if self._entries.get(entry.id) is entry and entry.phase is not Phase.ENDED]

    def _sweep(self) -> None:
        """Forget topics without messages, now and then: entries are forgotten in many places, and say nothing here."""
        found = ((topic, self._alive(entries)) for topic, entries in self._by_topic.items())
        self._by_topic = {topic: alive for topic, alive in found if alive}
        self._sweep_at = 2 * len(self._by_topic) + 64
