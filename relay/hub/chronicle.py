"""What happened to each message: its timeline, the events, and the ends of those that were never durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from relay.core.entry import Entry
from relay.core.landed import Landed, launch
from relay.core.model import Event, Message, Past, Status
from relay.hub.bulletin import Bulletin
from relay.hub.remembered import Remembered


class Chronicle:
    """Every step of a message is told here once; from here it goes to its timeline and to the subscribers."""

    def __init__(self, wall: Callable[[], float], node: str, remembered: Remembered, bulletin: Bulletin) -> None:
        self.bulletin = bulletin
        self._wall = wall
        self._node = node
        self._remembered = remembered
        self._watchers: dict[str, list[Deferred[None]]] = {}

    def event(self, name: str, *, session: str | None = None, detail: str | None = None) -> Event:
        """An event of now."""
        return Event(self._wall(), name, session, self._node, detail)

    def note(
        self, agent: str, entry: Entry, name: str, *, session: str | None = None, detail: str | None = None
    ) -> None:
        """Something happened to a message."""
        now = self._wall()
        entry.events += (Event(now, name, session, self._node, detail),)
        self.bulletin.add(name, agent, now, entry.id, detail)

    def launched(self, agent: str, entry: Entry, session: str, at: float) -> None:
        """It was accepted, and sent at once; ``at`` is the Unix time at which its message was created.

        Its events are made when somebody looks at them, or it is saved: nearly always nobody does.
        """
        entry.launched = (at, session)
        self.bulletin.add_two("accepted", "sent", agent, at, entry.id)

    def launched_all(self, agent: str, entries: Sequence[Entry], session: str, at: float) -> None:
        """The same for several messages of an agent."""
        launched = (at, session)
        for entry in entries:
            entry.launched = launched
        self.bulletin.add_run(("accepted", "sent"), agent, at, [entry.id for entry in entries])

    def history(self, entry: Entry) -> tuple[Event, ...]:
        """What the store does not know yet of what happened to a message."""
        if entry.launched is None:
            return entry.events
        return (*launch(*entry.launched, self._node), *entry.events)

    def take(self, entry: Entry) -> tuple[Event, ...]:
        """The same for the store, which knows it from then on."""
        events, entry.events, entry.launched = self.history(entry), (), None
        return events

    def tell(self, agent: str, id: str, name: str, *, detail: str | None = None) -> None:
        """The same for the subscribers alone."""
        self.bulletin.add(name, agent, self._wall(), id, detail)

    def note_all(self, agent: str, entries: Sequence[Entry], name: str, *, session: str | None = None) -> None:
        """The same happened to several messages of an agent."""
        now = self._wall()
        event = Event(now, name, session, self._node)
        for entry in entries:
            entry.events += (event,)
        self.bulletin.add_all(name, now, [(agent, entry.id) for entry in entries])

    def tell_all(self, messages: Sequence[tuple[str, str]], name: str) -> None:
        """The same for several messages, each given by its agent and its id."""
        self.bulletin.add_all(name, self._wall(), messages)

    def ended(self, id: str) -> None:
        """The end of a message is where it will be looked for: in the store, or among those never stored."""
        for watcher in self._watchers.pop(id, ()) if self._watchers else ():
            watcher.callback(None)

    def end_of(self, id: str) -> Deferred[None]:
        """Fires when that message has ``ended``. Cancel it when nobody waits for it any more."""
        watcher: Deferred[None] = Deferred(lambda watcher: self._unwatch(id, watcher))
        self._watchers.setdefault(id, []).append(watcher)
        return watcher

    def _unwatch(self, id: str, watcher: Deferred[None]) -> None:
        watchers = self._watchers.get(id, [])
        if watcher in watchers:
            watchers.remove(watcher)
        if not watchers:
            self._watchers.pop(id, None)

    def landed(self, agent: str, entry: Entry, message: Message, session: str | None, reply: bytes | None) -> None:
        """A message that was never durable was delivered, as nearly all of them are."""
        now = self._wall()
        self.bulletin.add("delivered", agent, now, entry.id, None)
        landed = self._in_short(entry, message, session, reply, now)
        if landed is not None:
            self._remembered.add(landed)
            self.ended(landed.id)

    def landed_all(
        self, agent: str, pairs: Sequence[tuple[Entry, Message]], session: str | None, reply: bytes | None
    ) -> None:
        """The same for several messages of an agent."""
        now = self._wall()
        self.bulletin.add_run(("delivered",), agent, now, [entry.id for entry, _ in pairs])
        all_of_them = [self._in_short(entry, message, session, reply, now) for entry, message in pairs]
        landed = [each for each in all_of_them if each is not None]
        self._remembered.add_all(landed)
        for each in landed if self._watchers else ():
            self.ended(each.id)

    def _in_short(
        self, entry: Entry, message: Message, session: str | None, reply: bytes | None, now: float
    ) -> Landed | None:
        """What is to be remembered of a delivery; None: more happened to it than that, which is remembered in full."""
        launched = entry.launched
        if launched is None or launched[1] != session or entry.events:
            entry.events += (Event(now, Status.DELIVERED.value, session, self._node),)
            self.remember(message, entry, Status.DELIVERED, "", reply)
            return None
        at, session = launched
        return Landed(entry.id, message.agent, message.publisher, at, message.expires_at, session, now, reply)

    def remember(self, message: Message, entry: Entry, status: Status, reason: str, reply: bytes | None) -> None:
        """A message ended that was never durable, which is noted already."""
        past = Past(
            id=message.id,
            agent=message.agent,
            publisher=message.publisher,
            status=status,
            reason=reason,
            attempts=entry.trials.attempts,
            created_at=message.created_at,
            expires_at=message.expires_at,
            ended_at=self._wall(),
            reply=reply,
            timeline=self.take(entry),
        )
        self._remembered.add(past)
        self.ended(message.id)

    def past(self, id: str) -> Past | None:
        """The end of a message that was never durable, while it is remembered."""
        past = self._remembered.get(id)
        return past.in_full(self._node) if isinstance(past, Landed) else past
