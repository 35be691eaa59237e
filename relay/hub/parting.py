"""The beginning and the end of an agent's session, for its messages: burst, return, blame (protocol 2.3)."""

from __future__ import annotations

from relay.core import policy
from relay.core.entry import Entry, Saved
from relay.core.model import Reason, Status
from relay.hub.courier import Courier
from relay.hub.outlet import Outlet
from relay.hub.putoff import lapses


def begin(courier: Courier, outlet: Outlet, streak: int) -> None:
    """A session holds the agent now: its queue goes out, oldest first, as far as the window goes.

    ``streak``: sessions in a row that broke with several in flight.
    """
    outlet.careful(streak)
    courier.outlet = outlet
    queued = courier.context.ledger.depth(courier.agent).count > 0
    courier.line.begin(courier.context.last_place + 1, queued)
    courier.pump()


def finish(courier: Courier, *, broke: bool, streak: int) -> int:
    """The session is over: what it left unacknowledged waits for the next one, and every POST is answered.

    Returns the new streak.
    """
    courier.outlet = None
    courier.rest()
    flying = courier.line.finish()
    blamed = policy.may_be_blamed(broke, len(flying))
    for entry in flying:
        _leave(courier, entry, blamed)
    courier.acks.give_up_all(Reason.LOST)
    courier.pump()
    return policy.streak_of_breaks(streak, broke, len(flying))


def _leave(courier: Courier, entry: Entry, blamed: bool) -> None:
    now = courier.context.wall()
    trials = policy.nacked(entry.trials, now, None) if blamed else entry.trials
    if lapses(courier, entry):
        return
    if blamed and policy.is_dead(trials, now, courier.context.limits):
        courier.end(entry, Status.DEAD, "attempts")
    elif entry.saved is Saved.NO:
        courier.line.leave(entry, trials)  # the POST that waits for it is told below, and has it saved
    else:
        entry.trials = trials
        courier.revise(entry)
        courier.line.leave(entry, trials)
