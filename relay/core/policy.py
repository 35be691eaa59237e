"""Decisions as pure functions: reasons, redelivery, blame, dead letters, windows, pressure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from relay.core.limits import LETTERS_BYTES, Limits
from relay.core.model import Reason, Trials

LONGEST_PAUSE = 600.0  #: seconds; where doubling ends
SEEN_SECONDS = 30 * 86400.0  #: an agent is known for so long after it was here
BREAKS_BEFORE_CAUTION = 3  #: sessions broken in a row with several in flight, until the window starts at 1

_RANK = {reason: rank for rank, reason in enumerate(Reason)}


def first_reason(reasons: Iterable[Reason]) -> Reason:
    """Of the reasons that hold, the one that is said. Raises ValueError when none holds."""
    return min(reasons, key=_RANK.__getitem__)


def obstacles(
    *, live: bool, draining: bool, room: bool = True, window: bool = True, ahead: bool = False
) -> tuple[Reason, ...]:
    """Why a message cannot go directly; nothing if it can (protocol 1.1 'What happens').

    ``room``: the session's socket takes more; ``window``: there is a place in flight; ``ahead``: an earlier message
    waits for its first send.
    """
    if draining:
        return (Reason.DRAINING,)
    if not live:
        return (Reason.AWAY,)
    found: list[Reason] = []
    if not room:
        found.append(Reason.SLOW)
    if not window:
        found.append(Reason.WINDOW)
    if ahead:
        found.append(Reason.BEHIND)
    return tuple(found)


def is_known(connected: bool, queued: int, last_seen: float, now: float) -> bool:
    """Is an agent known (protocol 1.3)? ``last_seen``: Unix time, 0 if it never was here; ``now`` is Unix time too."""
    return connected or queued > 0 or now - last_seen <= SEEN_SECONDS


def nack_pause(nacks: int) -> float:
    """Seconds until a message is sent again after its n-th nack (from 1): 1, 2, 4 … 600."""
    return min(2.0 ** min(nacks - 1, 20), LONGEST_PAUSE)


def resend_pause(ack_wait: float, sends: int) -> float:
    """Seconds until an unacknowledged message is sent again, after its n-th send (from 1) in a live session."""
    longest = max(LONGEST_PAUSE, ack_wait)
    return min(ack_wait * 2.0 ** min(sends - 1, 20), longest)


def sent_once_more(trials: Trials) -> Trials:
    """After a send."""
    # Written out: ``replace`` costs more than all else that is done for a send.
    return Trials(trials.attempts + 1, trials.failures, trials.nacks, trials.first_failure_at, trials.not_before)


def failed(trials: Trials, now: float) -> Trials:
    """After a failure that counts: a redelivery time that ran out in a live session."""
    first = trials.first_failure_at or now
    return replace(trials, failures=trials.failures + 1, first_failure_at=first)


def nacked(trials: Trials, now: float, delay: float | None) -> Trials:
    """After a nack with requeue, or a blamed break: it waits ``delay`` s, else by the number of nacks."""
    nacks = trials.nacks + 1
    pause = nack_pause(nacks) if delay is None else delay
    return replace(failed(trials, now), nacks=nacks, not_before=now + pause)


def is_dead(trials: Trials, now: float, limits: Limits) -> bool:
    """Has it failed so often, and for so long, that it is a dead letter?"""
    return trials.failures >= limits.redeliveries and now - trials.first_failure_at >= limits.redelivery_age


def may_be_blamed(broke: bool, in_flight: int) -> bool:
    """Is a broken session the fault of its one message in flight?"""
    return broke and in_flight == 1


def streak_of_breaks(streak: int, broke: bool, in_flight: int) -> int:
    """How many sessions in a row broke with several messages in flight, this one included.

    One that broke with a single message in flight has found its culprit: the count stays, so that the next session is
    careful too.
    """
    if not broke or in_flight == 0:
        return 0
    return streak + 1 if in_flight > 1 else streak


def starting_window(streak: int, max_in_flight: int) -> int:
    """The window that a session starts with: 1 after three breaks in a row, so that one poisonous message is found."""
    return 1 if streak >= BREAKS_BEFORE_CAUTION else max_in_flight


def wider_window(window: int, max_in_flight: int) -> int:
    """The window after an ACK: a careful one doubles."""
    return min(window * 2, max_in_flight)


def buffer_share(total_unsent: int, sessions: int, limits: Limits) -> int:
    """Bytes that may wait for one agent: a MiB, or an equal share when all together are past their bound.

    With shares the fullest buffers wait first, and an agent that reads goes on.
    """
    if total_unsent <= limits.total_buffer:
        return limits.session_buffer
    return min(limits.session_buffer, limits.total_buffer // max(sessions, 1))


def fits(unsent: int, size: int, share: int) -> bool:
    """May ``size`` bytes follow ``unsent`` ones? One message of any size may always leave."""
    return unsent == 0 or unsent + size <= share


def spread(least: float, most: float, uniform: Callable[[float, float], float]) -> int:
    """A ``retry_after`` in whole seconds between two bounds, so that a crowd does not come back as one."""
    return max(1, round(uniform(least, most)))


def fit_on_a_page(sizes: Iterable[int], limit: int) -> int:
    """How many dead letters with payloads of these sizes go on one page: at most ``limit``, but one of any size."""
    left, count = LETTERS_BYTES, 0
    for size in sizes:
        left -= size
        if count == limit or (left < 0 and count):
            break
        count += 1
    return count
