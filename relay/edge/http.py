"""The HTTP door: requests into questions to the hub, what it says into answers (protocol 1). It decides nothing."""

from __future__ import annotations

import encodings.idna  # noqa: F401  # werkzeug asks for it at the first request, when no file may be left to read it
import re
from collections.abc import Awaitable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter

from relay.core.limits import Limits
from relay.core.model import AgentView, Submission
from relay.core.ports import Floor
from relay.core.problems import Problem
from relay.edge import payload, prefer
from relay.edge.answer import Answer, in_json, of_outcome, of_problem
from relay.edge.request import DoorRequest

#: Known to the contract and not built yet. To ignore one would be a lie to whoever relies on it.
UNBUILT: Final = ("TTL", "Topic", "Idempotency-Key", "Callback-URL")
UNBUILT_PREFIX: Final = b"Relay-Meta-"

AGENT_ID: Final = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
PAGE_DEFAULT: Final = 100
PAGE_MOST: Final = 1000

_ESCAPES: Final = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*+")
_TIMES: Final = ("since", "last_seen", "oldest_at")

T = TypeVar("T")
log = Logger()


class Segment(BaseConverter):
    """One segment of a path, as it came; an empty one too, so that it is told to be no agent id."""

    regex = "[^/]*"


class HttpDoor:
    """Protocol 1 over one hub. ``ack_timeout`` is the wait, in seconds, of a publisher that names none."""

    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.converters["segment"] = Segment

    def __init__(self, hub: Floor, limits: Limits, ack_timeout: float) -> None:
        self._hub = hub
        self._limits = limits
        self._ack_timeout = ack_timeout

    @app.route("/v1/agents/<segment:agent>/messages", methods=["POST"])
    async def submit(self, request: DoorRequest, agent: str) -> bytes:
        agent = agent_id(agent)
        _refuse_unbuilt(request)
        form, content_type = payload.read(request.values(b"content-type"), request.body)
        preference = prefer.read(request.values(b"prefer"), default=self._ack_timeout, most=self._limits.wait_max)
        submission = Submission(
            agent=agent,
            payload=request.body,
            content_type=content_type,
            form=form,
            wait=preference.wait,
            respond_async=preference.respond_async,
        )
        outcome = await shielded(self._hub.submit(submission))
        return request.prepare(of_outcome(outcome, preference.applied))

    @app.route("/v1/agents", methods=["GET"])
    async def agents(self, request: DoorRequest) -> bytes:
        query = _query(request, {"limit", "cursor", "connected", "prefix"})
        limit = _limit(query.get("limit"))
        found = await shielded(
            self._hub.agents(
                connected=_connected(query.get("connected")),
                prefix=query.get("prefix", ""),
                after=_cursor(query.get("cursor")),
                limit=limit + 1,
            )
        )
        page = found[:limit]
        more = page[-1].agent if len(found) > limit else None
        return request.prepare(in_json(200, {"items": [view_members(view) for view in page], "next": more}))

    @app.route("/v1/agents/<segment:agent>", methods=["GET"])
    async def agent(self, request: DoorRequest, agent: str) -> bytes:
        view = await shielded(self._hub.agent(agent_id(agent)))
        if view is None:
            raise Problem("not-found", "no agent of that id is known here")
        return request.prepare(in_json(200, view_members(view)))

    @app.route("/healthz", methods=["GET"])
    def health(self, request: DoorRequest) -> bytes:
        return request.prepare(in_json(200, {"status": "alive"}))

    @app.route("/readyz", methods=["GET"])
    def readiness(self, request: DoorRequest) -> bytes:
        state = self._hub.readiness()
        if not state.ready:
            raise Problem(state.why, "the relay accepts no messages now", durable=state.durable)
        return request.prepare(in_json(200, {"status": "ready", "durable": state.durable}))

    @app.handle_errors(Exception)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        # One handler for all: Klein asks them in the order in which they were registered, not the nearest first.
        assert isinstance(request, DoorRequest)
        return request.prepare(_refusal(failure, request))


def agent_id(segment: str) -> str:
    """The agent that a path segment names, percent-decoded once. Raises Problem (``invalid-agent-id``)."""
    if _ESCAPES.fullmatch(segment):
        agent = unquote_to_bytes(segment).decode("latin-1")
        # Every URL class would make another path of these two, some before it is sent and some after.
        if AGENT_ID.fullmatch(agent) and agent not in (".", ".."):
            return agent
    raise Problem(
        "invalid-agent-id", "an agent id has 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and is not . or .."
    )


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

    async def wait() -> T:
        return await waiting

    Deferred.fromCoroutine(wait()).addBoth(tell)
    return told


def view_members(view: AgentView) -> dict[str, Any]:
    """An agent as JSON has it."""
    members = asdict(view)
    for name in _TIMES:
        if members[name] is not None:
            members[name] = rfc3339(members[name])
    return members


def rfc3339(when: float) -> str:
    """A Unix time in seconds as the contract writes it."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse_unbuilt(request: DoorRequest) -> None:
    headers = request.requestHeaders
    named = [name for name in UNBUILT if headers.hasHeader(name)]
    named += [name.decode("ascii") for name, _ in headers.getAllRawHeaders() if name.startswith(UNBUILT_PREFIX)]
    if named:
        raise Problem("invalid-header", f"{named[0]} is not supported by this relay yet: send the message without it")


def _query(request: DoorRequest, known: set[str]) -> dict[str, str]:
    """The parameters that are known here; others are ignored."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(request.query.decode("ascii"), keep_blank_values=True):
        if name in known and name in found:
            raise Problem("invalid-request", f"{name} was given more than once")
        found[name] = value
    return found


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_DEFAULT
    if re.fullmatch("[0-9]{1,4}", text, re.ASCII) and 1 <= int(text) <= PAGE_MOST:
        return int(text)
    raise Problem("invalid-request", f"limit must be a number from 1 to {PAGE_MOST}")


def _connected(text: str | None) -> bool | None:
    if text not in (None, "true", "false"):
        raise Problem("invalid-request", "connected must be true or false")
    return None if text is None else text == "true"


def _cursor(text: str | None) -> str:
    # The last agent of the page before: whoever comes or goes meanwhile, nobody is seen twice or passed over.
    if text is not None and not AGENT_ID.fullmatch(text):
        raise Problem("invalid-request", "cursor must be the next of an earlier page")
    return text or ""


def _refusal(failure: Failure, request: DoorRequest) -> Answer:
    error = failure.value
    if isinstance(error, Problem):
        return of_problem(error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
        header = (b"Allow", allowed.encode("ascii"))
        if request.method == b"OPTIONS":
            return Answer(204, (header,))
        return of_problem(Problem("method-not-allowed", f"this path takes {allowed}"), header)
    if isinstance(error, NotFound):
        return of_problem(Problem("not-found", "there is nothing at this path"))
    log.failure("a request failed", failure)
    return of_problem(Problem("internal", "the relay failed at this request; its log says how"))
