"""The HTTP door: requests into questions to the hub, what it says into answers (protocol 1). It decides nothing."""

from __future__ import annotations

import encodings.idna  # noqa: F401  # werkzeug asks for it at the first request, when no file may be left to read it
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter

from relay.core import payload, policy
from relay.core.access import may_see
from relay.core.limits import Limits
from relay.core.model import MessageView, Readiness, Submission
from relay.core.ports import Audit, Floor
from relay.core.problems import Problem
from relay.edge import asked, members, openapi, prefer, query
from relay.edge.answer import Answer, in_json, of_outcome, of_problem
from relay.edge.events import BUSY_RETRY, EventStream, wanted_types
from relay.edge.metrics import Metrics
from relay.edge.polls import PollDoor
from relay.edge.request import DoorRequest
from relay.edge.transport import name_of
from relay.edge.visitors import Visitors
from relay.hub.later import later

T = TypeVar("T")
log = Logger()

DESCRIPTION: Final = in_json(200, openapi.document())


class Segment(BaseConverter):
    """One segment of a path, as it came; an empty one too, so that it is told to be no agent id."""

    regex = "[^/]*"


class HttpDoor:
    """Protocol 1 over one hub. ``ack_timeout`` is the wait, in seconds, of a publisher that names none."""

    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.converters["segment"] = Segment

    def __init__(
        self,
        hub: Floor,
        audit: Audit,
        limits: Limits,
        ack_timeout: float,
        clock: IReactorTime,
        visitors: Visitors,
        *,
        pass_headers: frozenset[str] = frozenset(),
        callback_hosts: frozenset[str] = frozenset(),
        plugins: Callable[[], list[dict[str, Any]]],
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._audit = audit
        self._limits = limits
        self._ack_timeout = ack_timeout
        self._clock = clock
        self._polls = PollDoor(hub, limits, clock, visitors)
        self._pass_headers = pass_headers
        self._callback_hosts = callback_hosts
        self._plugins = plugins
        self._metrics = metrics

    @app.route("/v1/agents/<segment:agent>/messages", methods=["POST"])
    async def submit(self, request: DoorRequest, agent: str) -> bytes:
        agent, most = query.agent_id(agent), self._limits.wait_max
        preference = prefer.read(request.values(b"prefer"), default=self._ack_timeout, most=most)
        hosts, passed_on = self._callback_hosts, self._pass_headers
        submission = read_message(request, agent, preference, self._limits, hosts=hosts, passed_on=passed_on)
        try:
            outcome = await later(self._hub.submit(submission))  # Klein cancels it when the client hangs up
        except Problem as problem:
            return request.prepare(of_problem(problem, *preference.headers))
        return request.prepare(of_outcome(outcome, *preference.headers))

    @app.route("/v1/messages", methods=["POST"])
    def batch(self, request: DoorRequest) -> bytes:
        """Known to the router so that it can say what this path takes: a batch is fed and answered as it comes."""
        raise AssertionError("a batch reached the router")

    # -- agents

    @app.route("/v1/agents", methods=["GET"])
    async def agents(self, request: DoorRequest) -> bytes:
        asked_for = query.query(request, {"limit", "cursor", "connected", "prefix"})
        limit = query.limit(asked_for.get("limit"))
        found = await shielded(
            self._hub.agents(
                connected=query.switch("connected", asked_for.get("connected")),
                prefix=asked_for.get("prefix", ""),
                after=query.agent_cursor(asked_for.get("cursor")),
                limit=limit + 1,
            )
        )
        more = found[limit - 1].agent if len(found) > limit else None
        return request.prepare(page([members.of_agent(view) for view in found[:limit]], more))

    @app.route("/v1/agents/<segment:agent>", methods=["GET"])
    async def agent(self, request: DoorRequest, agent: str) -> bytes:
        view = await shielded(self._hub.agent(query.agent_id(agent)))
        if view is None:
            raise Problem("not-found", "no agent of that id is known here")
        show = members.of_agent if request.grant.admin else members.for_publisher
        return request.prepare(in_json(200, show(view)))

    @app.route("/v1/agents/<segment:agent>/session", methods=["DELETE"])
    def disconnect(self, request: DoorRequest, agent: str) -> bytes:
        found = self._hub.disconnect(query.agent_id(agent))
        note(self._audit, request, "disconnected", agent=agent, count=int(found))
        return request.prepare(deleted(int(found)))

    @app.route("/v1/agents/<segment:agent>/messages", methods=["GET"])
    async def queue(self, request: DoorRequest, agent: str) -> bytes:
        asked_for = query.query(request, {"limit", "cursor", "payload"})
        after, limit = query.place_cursor(asked_for.get("cursor")), query.limit(asked_for.get("limit"))
        with_payload = query.switch("payload", asked_for.get("payload")) is True
        views, more = await shielded(self._hub.queue(query.agent_id(agent), after=after, limit=limit))
        items = [members.in_queue(view, payload=with_payload) for view in views]
        return request.prepare(page(items, None if more is None else str(more)))

    @app.route("/v1/agents/<segment:agent>/messages", methods=["DELETE"])
    async def empty(self, request: DoorRequest, agent: str) -> bytes:
        count = await shielded(self._hub.empty(query.agent_id(agent)))
        note(self._audit, request, "queue-emptied", agent=agent, count=count)
        return request.prepare(deleted(count))

    # -- messages

    @app.route("/v1/messages/<segment:id>", methods=["GET"])
    async def message(self, request: DoorRequest, id: str) -> bytes:
        preference = prefer.read(request.values(b"prefer"), default=0.0, most=self._limits.wait_max)
        view = await own(self._hub, request, id)
        if preference.wait and view.ended_at is None:
            request.site.access.hold(request, request.channel.abort)
            waited: MessageView | None = await shielded(self._hub.message(id, wait=preference.wait))
            view = waited or view
        return request.prepare(in_json(200, members.of_message(view), *preference.headers))

    @app.route("/v1/messages/<segment:id>", methods=["DELETE"])
    async def cancel(self, request: DoorRequest, id: str) -> bytes:
        view = await own(self._hub, request, id)
        await shielded(self._hub.cancel(id))
        note(self._audit, request, "message-cancelled", agent=view.agent, id=id)
        return request.prepare(deleted(1))

    # -- dead letters

    @app.route("/v1/dead-letters", methods=["GET"])
    async def letters(self, request: DoorRequest) -> bytes:
        asked_for = query.query(request, {"limit", "cursor"})
        after, limit = query.id_cursor(asked_for.get("cursor")), query.limit(asked_for.get("limit"))
        found = await shielded(self._hub.letters(after=after, limit=limit + 1))
        fit = policy.fit_on_a_page((len(letter.record.message.payload) for letter in found), limit)
        more = found[fit - 1].past.id if len(found) > fit else None
        return request.prepare(page([members.of_letter(letter) for letter in found[:fit]], more))

    @app.route("/v1/dead-letters/<segment:id>/requeue", methods=["POST"])
    async def requeue(self, request: DoorRequest, id: str) -> bytes:
        view = await shielded(self._hub.requeue(query.message_id(id)))
        note(self._audit, request, "letter-requeued", agent=view.agent, id=id)
        return request.prepare(in_json(200, members.in_queue(view, payload=False)))

    @app.route("/v1/dead-letters/<segment:id>", methods=["DELETE"])
    async def discard(self, request: DoorRequest, id: str) -> bytes:
        await shielded(self._hub.discard(query.message_id(id)))
        note(self._audit, request, "letter-discarded", id=id)
        return request.prepare(deleted(1))

    # -- agents that poll

    @app.route("/v1/agents/<segment:agent>/next", methods=["GET"])
    async def next(self, request: DoorRequest, agent: str) -> bytes:
        forbid_head(request)
        return request.prepare(await self._polls.next(request, query.agent_id(agent)))

    @app.route("/v1/agents/<segment:agent>/acks", methods=["POST"])
    def acks(self, request: DoorRequest, agent: str) -> bytes:
        return request.prepare(self._polls.acks(request, query.agent_id(agent)))

    # -- events

    @app.route("/v1/events", methods=["GET"])
    def events(self, request: DoorRequest) -> Deferred[bytes]:
        forbid_head(request)
        asked_for = query.query(request, {"agent", "types"})
        types, agent = wanted_types(asked_for.get("types")), asked_for.get("agent")
        notices = self._hub.notices
        self._hub.admit()
        if notices.subscribers >= self._limits.subscribers:
            detail = "there are as many subscribers as may be"
            raise Problem("overloaded", detail, retry_after=BUSY_RETRY, limit="subscribers")
        stream = EventStream(
            request,
            notices,
            self._clock,
            wanted=lambda notice: notice.event in types and agent in (None, notice.agent),
            limits=self._limits,
            counters=request.site.counters,
        )
        request.site.access.hold(request, stream.end)
        last = request.values(b"last-event-id")
        return stream.run(last[0] if last else None).addCallback(lambda _: b"")

    # -- the relay

    @app.route("/healthz", methods=["GET"])
    def health(self, request: DoorRequest) -> bytes:
        return request.prepare(in_json(200, {"status": "alive"}))

    @app.route("/readyz", methods=["GET"])
    def readiness(self, request: DoorRequest) -> bytes:
        return request.prepare(ready(self._hub.readiness(), request, self._plugins))

    @app.route("/metrics", methods=["GET"])
    def figures(self, request: DoorRequest) -> bytes:
        return request.prepare(self._metrics.answer())

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: DoorRequest) -> bytes:
        return request.prepare(DESCRIPTION)

    @app.handle_errors(Exception)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        # One handler for all: Klein asks them in the order in which they were registered, not the nearest first.
        assert isinstance(request, DoorRequest)
        return request.prepare(refusal(failure, request.method))


def read_message(
    request: DoorRequest,
    agent: str,
    preference: prefer.Preference,
    limits: Limits,
    *,
    hosts: frozenset[str],
    passed_on: frozenset[str],
) -> Submission:
    """What a POST hands in. ``hosts``: where callbacks may go; ``passed_on``: headers that agents are given.

    Raises Problem.
    """
    wish = asked.read(request, limits, hosts=hosts, passed_on=passed_on, respond_async=preference.respond_async)
    form, content_type = payload.read(request.values(b"content-type"), request.body)
    return Submission(
        agent=agent,
        payload=request.body,
        content_type=content_type,
        form=form,
        wait=preference.wait,
        respond_async=preference.respond_async,
        ttl=wish.ttl,
        topic=wish.topic,
        headers=wish.headers,
        key=wish.key,
        callback=wish.callback,
        publisher=request.grant.name,
    )


def ready(state: Readiness, request: DoorRequest, plugins: Callable[[], list[dict[str, Any]]]) -> Answer:
    """Can the relay accept now? With ``?verbose`` also how its plugins do. Raises Problem."""
    more: dict[str, Any] = {"plugins": plugins()} if "verbose" in query.query(request, {"verbose"}) else {}
    if not state.ready:
        raise Problem(state.why, "the relay accepts no messages now", durable=state.durable, **more)
    return in_json(200, {"status": "ready", "durable": state.durable, **more})


def forbid_head(request: DoorRequest) -> None:
    """The router takes HEAD wherever it takes GET. But what is given here is given once, or has no end."""
    if request.method == b"HEAD":
        raise MethodNotAllowed(["GET"])


async def own(hub: Floor, request: DoorRequest, id: str) -> MessageView:
    """A message that whoever asks may see. Of others he is told that there are none. Raises Problem (``not-found``)."""
    view: MessageView | None = await shielded(hub.message(query.message_id(id)))
    if view is None or not may_see(request.grant, view.publisher):
        raise Problem("not-found", "no message of that id is known here")
    return view


def note(audit: Audit, request: DoorRequest, event: str, **about: str | int) -> None:
    """What somebody changed, for the audit log."""
    audit.note(event, by=request.grant.name, peer=name_of(request.client), **about)


def page(items: list[dict[str, Any]], more: str | None) -> Answer:
    """A page of a list; ``more`` is the cursor of the next one."""
    return in_json(200, {"items": items, "next": more})


def deleted(count: int) -> Answer:
    """The answer to every DELETE."""
    return in_json(200, {"deleted": count})


def shielded(waiting: Awaitable[T]) -> Deferred[T]:
    """What ``waiting`` comes to, for a handler that Klein cancels when the client hangs up: that ends the waiting, not
    what is waited for.
    """
    told: Deferred[T] = Deferred()

    def tell(result: T | Failure) -> None:
        if not told.called:
            told.callback(result)
        elif isinstance(result, Failure) and not result.check(Problem):
            log.failure("a request failed after its client had gone", result)

    started(waiting).addBoth(tell)
    return told


def started(waiting: Awaitable[T]) -> Deferred[T]:
    """What ``waiting`` comes to. It may be a Deferred already, but a port does not say so."""

    async def wait() -> T:
        return await waiting

    return waiting if isinstance(waiting, Deferred) else Deferred.fromCoroutine(wait())


def refusal(failure: Failure, method: bytes) -> Answer:
    """What is said of a request that could not be done."""
    error = failure.value
    if isinstance(error, Problem):
        return of_problem(error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
        header = (b"Allow", allowed.encode("ascii"))
        if method == b"OPTIONS":
            return Answer(204, (header,))
        return of_problem(Problem("method-not-allowed", f"this path takes {allowed}"), header)
    if isinstance(error, NotFound):
        return of_problem(Problem("not-found", "there is nothing at this path"))
    log.failure("a request failed", failure)
    return of_problem(Problem("internal", "the relay failed at this request; its log says how"))
