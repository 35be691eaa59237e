"""Several messages of a queue in one frame: what was read from the disk, and waits for nothing but its turn.

Each of them goes the way that ``Courier`` sends one by, with what is the same for all of them done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.core import policy, run
from relay.core.entry import Entry
from relay.core.model import Record, Trials

if TYPE_CHECKING:
    from relay.hub.courier import Courier
    from relay.hub.outlet import Outlet


def send(courier: Courier, outlet: Outlet) -> bool:
    """Send as many as go into the frame that is being gathered. False if none did: then what comes next is asked for.

    One that has expired, or is too large for the agent, ends the run, and is seen to by itself.
    """
    context, line = courier.context, courier.line
    if context.screen is not None:
        return False
    now = context.wall()
    count, left = outlet.gathers()
    sent: list[tuple[Record, Trials]] = []
    frames: list[bytes] = []
    for record in run.upcoming(line, now, min(count, outlet.window - line.flying)) if count > 0 else ():
        trials = policy.sent_once_more(record.trials)
        frame = outlet.frame(record.message, trials.attempts, queued=True)
        left -= len(frame) + 1
        if left < 0 or record.message.expires_at <= now:
            break
        frames.append(frame)
        sent.append((record, trials))
    if not sent:
        return False
    outlet.gather(frames)
    _were_sent(courier, outlet, run.flown(line, sent))
    return True


def _were_sent(courier: Courier, outlet: Outlet, entries: Sequence[Entry]) -> None:
    """See ``Courier.was_sent``."""
    for entry in entries:
        entry.sends = 1
        if courier.acks:
            courier.acks.sent(entry.id, entry.trials.attempts)
    outlet.redelivery.start_all(entries, outlet.flow_time())
    courier.context.chronicle.note_all(courier.agent, entries, "sent", session=outlet.session)
