"""Calls that plugins add under /x/NAME/: behind the relay's own gate, with its scopes, and bounded in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from klein import Klein
from twisted.internet.defer import Deferred

from relay.core.limits import Limits
from relay.core.problems import Problem
from relay.edge.annex import SCOPES, Annex, Room
from relay.edge.site import make_site
from relay.extensions import IHttpPlugin
from relay.extensions.settings import NotUsable
from tests.auth.support import Guarded
from tests.edge.support import House, get, request
from tests.extensions.support import Outside, plugin


def said(request: Any, body: bytes) -> bytes:
    request.setHeader("content-length", str(len(body)))  # the tests' client knows no chunks
    return body


class Shop:
    """A plugin's application, written as a class."""

    app = Klein()

    @app.route("/")
    def front(self, request: Any) -> bytes:
        return said(request, b"front")

    @app.route("/things/<name>", methods=["POST"])
    def thing(self, request: Any, name: str) -> bytes:
        return said(request, b":".join([name.encode(), bytes(request.body), request.grant.name.encode()]))

    @app.route("/refuse")
    def refuse(self, request: Any) -> bytes:
        raise Problem("rate-limited", "not so fast", retry_after=3)

    @app.route("/fail")
    def fail(self, request: Any) -> bytes:
        raise ValueError("/secret/path")

    @app.route("/hang")
    def hang(self, request: Any) -> Deferred[bytes]:
        self.hanging: Deferred[bytes] = Deferred()
        return self.hanging

    @app.route("/wrong")
    def go_wrong(self, request: Any) -> Any:
        said = self.wrong(request)
        if isinstance(said, bytes):
            request.setHeader("content-length", str(len(said)))
        return said

    wrong: Any = None  #: what a test would see


class Mounted:
    """A house with the shop in it."""

    def __init__(self, house: Any, scope: str = "none") -> None:
        self.house = house
        self.shop = Shop()
        made = plugin(IHttpPlugin, name="shop", app=self.shop.app)
        made.scope = scope
        self.outside = Outside([made], clock=house.reactor)
        [(enlisted, app)] = self.outside.roster.apps()
        self.health = enlisted.health
        room = Room("shop", SCOPES[scope], app, enlisted.health.failed, enlisted.health.worked)
        limits = Limits()
        self.annex = Annex([room], limits, house.reactor, self.outside.roster.states)
        house.site = make_site(
            hub=house.floor,
            authenticator=house.authenticator,
            audit=house.audit,
            limits=limits,
            ack_timeout=5.0,
            clock=house.reactor,
            wall=lambda: 1_700_000_000.0,
            names=(),
            origins=(),
            annex=self.annex,
        )


@pytest.fixture
def mounted(house: House) -> Mounted:
    return Mounted(house)


def test_a_plugins_routes_begin_behind_its_name(mounted: Mounted) -> None:
    for path in ("/x/shop", "/x/shop/"):
        answer = mounted.house.ask(get(path))
        assert (answer.status, answer.body) == (200, b"front")
    answer = mounted.house.ask(request("POST", "/x/shop/things/pen", b"blue"))
    assert answer.body == b"pen:blue:"
    assert mounted.health.failures == 0


@pytest.mark.parametrize("path", ["/x/", "/x/other/", "/x/shopping", "/x/shop/nothing", "/x"])
def test_what_nobody_added_is_not_found(mounted: Mounted, path: str) -> None:
    answer = mounted.house.ask(get(path))
    assert (answer.status, answer.problem) == (404, "not-found")


def test_a_problem_is_answered_as_one_and_is_no_failure(mounted: Mounted) -> None:
    answer = mounted.house.ask(get("/x/shop/refuse"))
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "rate-limited", "3")
    assert mounted.house.ask(get("/x/shop/things/pen")).status == 405
    assert mounted.health.failures == 0


def test_an_exception_is_500_without_a_trace_and_counts_as_the_plugins(mounted: Mounted) -> None:
    answer = mounted.house.ask(get("/x/shop/fail"))
    assert (answer.status, answer.problem) == (500, "internal")
    assert b"secret" not in answer.body
    assert mounted.health.failures == 1


def test_one_that_does_not_answer_in_time_is_503_and_what_it_says_later_goes_nowhere(mounted: Mounted) -> None:
    client = mounted.house.connect()
    client.send(get("/x/shop/hang"))
    mounted.house.pass_time(5.1)
    answer = client.answer("GET")
    assert (answer.status, answer.problem) == (503, "overloaded")
    mounted.shop.hanging.callback(b"too late")
    client.send(get("/x/shop/"))
    assert client.answer("GET").body == b"front"
    assert mounted.health.failures == 1


def test_how_plugins_do_is_told_to_who_asks_verbosely(mounted: Mounted) -> None:
    mounted.house.ask(get("/x/shop/fail"))
    state = {"name": "shop", "version": "1.0", "state": "failing", "failures": 1, "drops": 0}
    assert mounted.house.ask(get("/readyz?verbose")).json["plugins"] == [state]
    assert "plugins" not in mounted.house.ask(get("/readyz")).json


def test_a_scope_that_is_none_ends_the_start() -> None:
    made = plugin(IHttpPlugin, app=Klein())
    made.scope = "root"
    with pytest.raises(NotUsable, match="its scope is 'root'; allowed: none, publish, agent, admin"):
        Outside([made]).roster.apps()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path / "auth.toml")
    yield guarded
    guarded.close()


SCOPED = {"none": "", "publish": "publisher", "agent": "agent", "admin": "admin"}


@pytest.mark.parametrize("scope", SCOPED)
def test_only_who_has_the_scope_may_call(guarded: Guarded, scope: str) -> None:
    Mounted(guarded.house, scope)
    tokens = {
        "publisher": guarded.add("p", publish=("desk-*",)),
        "agent": guarded.add("a", agent=("desk-*",)),
        "admin": guarded.add("root", admin=True),
    }
    statuses = {who: guarded.status("GET", "/x/shop/", token) for who, token in tokens.items()}
    if scope == "none":
        assert statuses == dict.fromkeys(tokens, 200)
        assert guarded.status("GET", "/x/shop/", None) == 200
    else:
        assert statuses == {who: 200 if who == SCOPED[scope] else 403 for who in tokens}
        assert guarded.status("GET", "/x/shop/", None) == 401
    assert guarded.status("GET", "/x/other/", None) == 401
    assert guarded.status("GET", "/x/other/", tokens["agent"]) == 404
