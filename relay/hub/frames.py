"""What each frame of a registered session does (protocol 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from relay.core import wire
from relay.core.wire import Ack, Auth, Frame, Ids, Nack, Ping, Progress, Publish, Window
from relay.hub import answers, publications

if TYPE_CHECKING:
    from relay.hub.courier import Courier
    from relay.hub.session import AgentSession


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
            publications.publish(session, frame.line)
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
