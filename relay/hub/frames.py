"""What each frame of a registered session does (protocol 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.core import access, posting, wire
from relay.core.access import Need
from relay.core.model import Outcome
from relay.core.problems import Problem
from relay.core.session import State
from relay.core.wire import Ack, Auth, Frame, Ids, Nack, Ping, Progress, Publish, Window
from relay.hub import answers

if TYPE_CHECKING:
    from relay.hub.courier import Courier
    from relay.hub.session import AgentSession

BUSY_RETRY = 1  #: seconds, ``Retry-After`` of a session that publishes faster than it is answered


def handle(session: AgentSession, frame: Frame) -> None:
    """Do what the frame says."""
    if isinstance(frame, Ack) and session.agent:  # as nearly always
        _acknowledge(session, session.couriers.of(session.agent), frame)
        return
    match frame:
        case Ping():
            now = wire.stamp(session.context.wall())
            session.transport.send(wire.encode("pong", ref=frame.ref, time=now))
        case Publish():
            _publish(session, frame.line)
        case Auth():
            session.host.shown(session, frame.token)
        case _ if not session.agent:
            id = frame.id if isinstance(frame, Ids | Nack) else None
            session.complain("not-allowed", "this session only publishes", id=id)
        case _:
            _about_messages(session, session.couriers.of(session.agent), frame)


def _about_messages(session: AgentSession, courier: Courier, frame: Frame) -> None:
    match frame:
        case Nack():
            answers.refuse(courier, frame)
        case Progress():
            answers.still_working(courier, frame.all())
        case Window():
            _resize(session, frame.max_in_flight)


def _acknowledge(session: AgentSession, courier: Courier, frame: Ack) -> None:
    reply = None if frame.reply is msgspec.UNSET else bytes(frame.reply)
    most = session.context.limits.reply
    if reply is not None and len(reply) > most:
        detail = f"the reply has {len(reply)} bytes; allowed are {most}: the message is acknowledged without it"
        session.context.counters.reached("reply")
        session.complain("reply-too-large", detail, id=frame.id)
        reply = None
    answers.acknowledge(courier, frame.all(), reply=reply, confirm=_confirm(session) if frame.confirm else None)


def _confirm(session: AgentSession) -> answers.Confirm:
    def confirm(ids: list[str], unknown: list[str]) -> None:
        session.transport.send(wire.encode("acked", ids=ids, unknown=unknown))

    return confirm


def _resize(session: AgentSession, wanted: int) -> None:
    if session.outlet is not None:
        session.outlet.resize(min(wanted, session.context.limits.max_in_flight))
        session.flowed()


def _publish(session: AgentSession, line: bytes) -> None:
    """The same as a POST, over this socket: its answer comes as ``result``, when it is known."""
    ref = posting.ref_of(line)
    try:
        if len(session.undecided) >= session.context.limits.undecided:
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
        return
    answer = session.delivery.submit(submission, line=True)
    session.undecided[answer] = None
    answer.addBoth(_decided, answer, session, ref)


def _decided(result: Outcome | Failure, answer: Deferred[Outcome], session: AgentSession, ref: str | None) -> None:
    session.undecided.pop(answer, None)
    if session.state is State.OVER:
        return
    if isinstance(result, Failure):
        problem = result.value
        if not isinstance(problem, Problem):
            problem = Problem("internal", "the relay failed at this message; its log says how")
        _tell(session, ref, problem)
    elif ref is not None:
        session.transport.send(posting.result(result, ref=ref, kind="result"))


def _tell(session: AgentSession, ref: str | None, problem: Problem) -> None:
    session.context.counters.reached(problem.limit)
    if session.state is not State.LIVE:
        return
    if ref is None:
        session.complain(problem.word, problem.detail, id=problem.fields.get("id"))
    else:
        told = wire.encode("result", ref=ref, retry_after=problem.retry_after, problem=problem.members())
        session.transport.send(told)
