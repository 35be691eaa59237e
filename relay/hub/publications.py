"""Messages that come over a WebSocket: each the same as a POST, its answer a ``result`` frame (protocol 2.1).

Those which came one after the other are handed in together, as lines of a batch are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from relay.core import access, posting, wire
from relay.core.access import Need
from relay.core.model import Outcome, Submission
from relay.core.problems import Problem
from relay.core.session import LIVE, OVER
from relay.hub.volley import tell_one

if TYPE_CHECKING:
    from relay.hub.session import AgentSession

BUSY_RETRY = 1  #: seconds, ``Retry-After`` of a session that publishes faster than it is answered


class Lot:
    """Publications that were handed in together."""

    __slots__ = ("_refs", "_session", "hang_up", "left")

    def __init__(self, session: AgentSession, refs: Sequence[str | None]) -> None:
        self.left = len(refs)  #: those which are not decided
        self.hang_up: Callable[[], object] = lambda: None
        self._session = session
        self._refs = refs

    def decided(self, told: Sequence[tuple[int, Outcome | Problem]]) -> None:
        """That became of some of them, each given by its index."""
        session = self._session
        session.undecided -= len(told)
        self.left -= len(told)
        if not self.left:
            session.lots.pop(self, None)
        if session.state is OVER:
            return
        for index, became in told:
            ref = self._refs[index]
            if isinstance(became, Problem):
                _tell(session, ref, became)
            elif ref is not None:
                _answer(session, posting.result(became, ref=ref, kind="result"))


def taken_together(session: AgentSession, frames: Sequence[bytes]) -> Iterator[bytes]:
    """Of frames that came together, hand in the publications among them; give the others, each in its turn.

    Publications are given too unless nothing is wrong with any of those that came one after the other.
    """
    run: list[bytes] = []
    for frame in frames:
        if frame.startswith(wire.PUBLISH):
            run.append(frame)
            continue
        if run and not _publish_all(session, run):
            yield from run
        run = []
        yield frame
    if run and not _publish_all(session, run):
        yield from run


def _publish_all(session: AgentSession, lines: Sequence[bytes]) -> bool:
    """Hand in these; False: nothing was done, because something may be wrong with one of them."""
    if session.state is not LIVE or session.pace is not None or _is_full(session, len(lines)):
        return False
    read = posting.read_all(
        lines,
        session.context.limits,
        default_wait=session.context.ack_timeout,
        publisher=session.grant.name,
        hosts=session.context.callback_hosts,
    )
    if read is None or not all(map(session.grant.may_publish, {submission.agent for _, submission in read})):
        return False
    _submit(session, [ref for ref, _ in read], [submission for _, submission in read])
    return True


def _is_full(session: AgentSession, count: int) -> bool:
    """Are there too many undecided for so many more?"""
    return session.undecided + count > session.context.limits.undecided


def publish(session: AgentSession, line: bytes) -> None:
    """One of which something may be wrong."""
    ref = posting.ref_of(line)
    try:
        if _is_full(session, 1):
            detail = "too many publications wait for their answer"
            raise Problem("rate-limited", detail, retry_after=BUSY_RETRY, limit="undecided")
        submission = posting.read(
            line,
            session.context.limits,
            default_wait=session.context.ack_timeout,
            publisher=session.grant.name,
            hosts=session.context.callback_hosts,
        )
        access.check(Need.PUBLISH, session.grant, submission.agent)
    except Problem as problem:
        _tell(session, ref, problem)
    else:
        _submit(session, [ref], [submission])


def _submit(session: AgentSession, refs: Sequence[str | None], submissions: Sequence[Submission]) -> None:
    lot = Lot(session, refs)
    session.undecided += len(refs)
    session.lots[lot] = None
    if len(submissions) > 1:
        lot.hang_up = session.delivery.submit_all(submissions, lot.decided)
    else:
        answer = session.delivery.submit(submissions[0], line=True)
        lot.hang_up = answer.cancel
        answer.addBoth(partial(tell_one, lot.decided, 0))


def _tell(session: AgentSession, ref: str | None, problem: Problem) -> None:
    session.context.counters.reached(problem.limit)
    if session.state is not LIVE:
        return
    if ref is None:
        session.complain(problem.word, problem.detail, id=problem.fields.get("id"))
    else:
        _answer(session, wire.encode("result", ref=ref, retry_after=problem.retry_after, problem=problem.members()))


def _answer(session: AgentSession, result: bytes) -> None:
    # Many are known in one turn of the reactor, and are then one write. The last one has nothing to wait for.
    if session.undecided:
        session.transport.send_soon(result)
    else:
        session.transport.send(result)
