"""The front of the house: one factory for HTTP and WebSocket, on any number of ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request as HttpRequest
from twisted.web.http import datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from relay.core.counters import Counters
from relay.core.limits import Limits
from relay.core.ports import Audit, Authenticator, Floor
from relay.core.problems import Problem
from relay.edge.access import AccessDoor
from relay.edge.annex import PREFIX, Annex
from relay.edge.answer import of_problem
from relay.edge.batch import BatchDoor
from relay.edge.channel import BEGIN_AT_ONCE, DoorChannel
from relay.edge.fast import FastChannel, FastDoor, FastProtocol
from relay.edge.guard import Guard
from relay.edge.http import HttpDoor
from relay.edge.lines import Settings
from relay.edge.metrics import Metrics
from relay.edge.request import DoorRequest
from relay.edge.upgrade import UpgradeDoor
from relay.edge.visitors import Visitors
from relay.edge.websocket import AgentProtocol
from relay.hub.turnstile import Turnstile


class Doors(Resource):
    """Which door a path belongs to."""

    isLeaf = True

    def __init__(self, http: HttpDoor, upgrade: UpgradeDoor, annex: Annex) -> None:
        super().__init__()
        self._http = http.app.resource()
        self._upgrade = upgrade
        self._annex = annex

    def render(self, request: DoorRequest) -> int:
        if request.path == b"/v1/connect":
            self._upgrade.render(request)
        elif request.path.startswith(b"//"):
            # The router would take the first of them for none.
            request.answer(of_problem(Problem("not-found", "there is nothing at this path")))
        elif request.path.startswith(PREFIX):
            self._annex.render(request)
        else:
            self._http.render(request)
        return NOT_DONE_YET


class DoorSite(Site):
    """What the connections of all ports share. HTTP/1.1 only, no access log, no sessions."""

    protocol = DoorChannel  # type: ignore[assignment]  # it is only ever called; the wrapper is for HTTP/2

    def __init__(
        self,
        doors: Resource,
        *,
        guard: Guard,
        access: AccessDoor,
        batches: BatchDoor,
        visitors: Visitors,
        counters: Counters,
        limits: Limits,
        clock: IReactorTime,
        wall: Callable[[], float],
        fast: FastDoor | None = None,
    ) -> None:
        super().__init__(doors, DoorRequest, timeout=None, reactor=clock, parsePOSTFormSubmission=False)
        self.guard = guard
        self.access = access
        self.batches = batches
        self.visitors = visitors
        self.counters = counters
        self.limits = limits
        self.clock = clock
        self.newcomers = Turnstile(clock, BEGIN_AT_ONCE)
        if fast is not None:
            self.fast = fast
            self.protocol = FastChannel
        self._wall = wall
        self._date = (0, b"")

    def date(self) -> bytes:
        """The value of ``Date``, made once a second."""
        second = int(self._wall())
        if second != self._date[0]:
            self._date = (second, datetimeToString(second))
        return self._date[1]

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802  Twisted's name
        # With two more packages installed Twisted would offer HTTP/2: other limits, and no WebSocket.
        return [b"http/1.1"]

    def startFactory(self) -> None:
        pass  # Twisted would keep a clock for the access log running.

    def stopFactory(self) -> None:
        pass

    def log(self, request: HttpRequest) -> None:
        pass  # To format a line a request cost more than a third of the throughput.


def make_site(
    *,
    hub: Floor,
    authenticator: Authenticator,
    audit: Audit,
    limits: Limits,
    ack_timeout: float,
    clock: IReactorTime,
    wall: Callable[[], float],
    names: Sequence[str],
    origins: Sequence[str],
    pass_headers: Sequence[str] = (),
    callback_hosts: Sequence[str] = (),
    counters: Counters | None = None,
    fast_door: bool = True,
    annex: Annex | None = None,
) -> DoorSite:
    """The factory that any number of ports listen with.

    ``ack_timeout`` is the publishers' default wait in seconds; ``wall`` gives the Unix time; ``names`` are host names
    that the relay answers to beside addresses and localhost, as long as nobody needs a token; ``origins`` are those of
    web pages that may use it; ``counters`` are told which limits were reached; ``fast_door``: take the plain case by
    the hot path (``edge.fast``); ``annex`` has what plugins add.
    """
    counters = counters or Counters()
    visitors = Visitors(limits, clock, counters)
    passed_on, hosts = frozenset(name.lower() for name in pass_headers), frozenset(callback_hosts)
    annex = annex or Annex((), limits, clock)
    http = HttpDoor(
        hub,
        audit,
        limits,
        ack_timeout,
        clock,
        visitors,
        pass_headers=passed_on,
        callback_hosts=hosts,
        plugins=annex.states,
        metrics=Metrics(hub, counters, visitors, annex.states, annex.counted),
    )
    kind = FastProtocol if fast_door else AgentProtocol
    doors = Doors(http, UpgradeDoor(hub, limits, clock, visitors, counters, kind), annex)
    batches = BatchDoor(hub, limits, clock, Settings(ack_timeout, hosts))
    # Who has to bring a token is safe from pages that pretend to be here: their visitors' browsers have none for them.
    guard = Guard(names=names, origins=origins, any_name=authenticator.nobody is None)
    return DoorSite(
        doors,
        guard=guard,
        access=AccessDoor(authenticator, clock, wall, annex.need),
        batches=batches,
        visitors=visitors,
        counters=counters,
        limits=limits,
        clock=clock,
        wall=wall,
        fast=FastDoor(hub, guard, authenticator, limits, ack_timeout, passed_on) if fast_door else None,
    )
