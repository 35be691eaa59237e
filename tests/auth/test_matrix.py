"""Every call and every frame with every scope: only the allowed cells pass (protocol 1.3 and 2.1).

The tables here are written from the contract, not from the table that they hold to account.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from relay.edge.http import HttpDoor
from relay.edge.scopes import CALLS
from tests.auth.support import Caller, Guarded
from tests.edge.whole import unchunked

DESKS = ("desk-*",)

#: Good tokens by who holds them, and what they grant.
HOLDERS: dict[str, dict[str, Any]] = {
    "publisher": {"publish": DESKS},
    "agent": {"agent": DESKS},
    "admin": {"admin": True},
    "nobody": {},
}
#: Tokens that are none: not one cell of theirs is allowed where a token is needed.
BAD = ("expired", "revoked", "unknown", "malformed", "none")

#: Agents that the pattern means, its edge among them, and agents that it does not mean.
MEANT = ("desk-1", "desk-")
OTHERS = ("phone-1", "Desk-1", "my-desk-1", "desk")


@dataclass(frozen=True)
class Call:
    """One call of the contract. ``by`` may make it of any agent, ``for_meant`` only of those that its pattern means."""

    method: str
    path: str
    by: frozenset[str] = frozenset()
    for_meant: frozenset[str] = frozenset()
    body: bytes = b""

    @property
    def is_of_an_agent(self) -> bool:
        return "{agent}" in self.path

    def allows(self, holder: str, agent: str) -> bool:
        return holder in self.by or (holder in self.for_meant and agent in MEANT)


def call(method: str, path: str, by: str = "", for_meant: str = "", body: bytes = b"") -> Call:
    return Call(method, path, frozenset(by.split()), frozenset(for_meant.split()), body)


MATRIX = [
    call("POST", "/v1/agents/{agent}/messages", for_meant="publisher", body=b"1"),
    call("GET", "/v1/agents/{agent}/messages", by="admin"),
    call("DELETE", "/v1/agents/{agent}/messages", by="admin"),
    call("POST", "/v1/messages", by="publisher"),
    call("GET", "/v1/messages/{id}", by="publisher admin"),
    call("DELETE", "/v1/messages/{id}", by="publisher admin"),
    call("GET", "/v1/agents", by="admin"),
    call("GET", "/v1/agents/{agent}", by="admin", for_meant="publisher"),
    call("DELETE", "/v1/agents/{agent}/session", by="admin"),
    call("GET", "/v1/agents/{agent}/next?wait=0", for_meant="agent"),
    call("POST", "/v1/agents/{agent}/acks", for_meant="agent", body=b"{}"),
    call("GET", "/v1/dead-letters", by="admin"),
    call("DELETE", "/v1/dead-letters/{id}", by="admin"),
    call("POST", "/v1/dead-letters/{id}/requeue", by="admin"),
    call("GET", "/v1/events", by="admin"),
    call("GET", "/metrics", by="admin"),
]
FOR_EVERYBODY = ("/healthz", "/readyz", "/openapi.json", "/")


@pytest.fixture
def house(guard: Callable[..., Guarded]) -> Guarded:
    house = guard()
    everything: dict[str, Any] = {"publish": ("*",), "agent": ("*",), "admin": True}
    for name, scopes in HOLDERS.items():
        house.keys.add(name, **scopes)
    house.keys.add("other", **everything)
    house.keys.add("expired", expires=house.wall() - 1, **everything)
    house.keys.add("revoked", **everything)
    house.file.reload()
    house.revoke("revoked")
    return house


def secret(holder: str) -> str | None:
    return {"none": None, "malformed": "not a token"}.get(holder, f"{holder}.secret")


def name_of_call(each: Call) -> str:
    return f"{each.method} {each.path}"


@pytest.mark.parametrize("each", MATRIX, ids=name_of_call)
def test_a_call_passes_with_its_own_scope_alone(house: Guarded, each: Call) -> None:
    for agent in MEANT + OTHERS if each.is_of_an_agent else ("",):
        for holder in HOLDERS:
            status = house.status(each.method, each.path.format(agent=agent, id="m1"), secret(holder), each.body)
            assert (status != 403) == each.allows(holder, agent), (holder, agent, status)
            assert status not in (0, 401), (holder, agent)


@pytest.mark.parametrize("each", MATRIX, ids=name_of_call)
@pytest.mark.parametrize("holder", BAD)
def test_no_call_passes_without_a_good_token(house: Guarded, each: Call, holder: str) -> None:
    # Each from an address of its own would be as good: the tenth failure of one is late.
    client = house.begin(each.method, each.path.format(agent="desk-1", id="m1"), secret(holder), each.body)
    answer = client.answer(each.method)
    assert (answer.status, answer.problem) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", FOR_EVERYBODY)
@pytest.mark.parametrize("holder", [*HOLDERS, *BAD])
def test_what_needs_nothing_is_told_to_everybody(house: Guarded, path: str, holder: str) -> None:
    assert house.status("GET", path, secret(holder)) in (200, 404)


def test_the_table_of_scopes_has_every_call_and_the_contract_too() -> None:
    routes = {
        (method, str(rule.rule).replace("<segment:agent>", "*").replace("<segment:id>", "*"))
        for rule in HttpDoor.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    table = {(method, path) for path, methods in CALLS.items() for method in methods}
    contract = {(each.method, each.path.partition("?")[0].format(agent="*", id="*")) for each in MATRIX}
    assert routes <= table
    assert contract | {("GET", path) for path in (*FOR_EVERYBODY, "/v1/connect")} == table


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/agents/desk-1/messages/", "//v1/agents", "/v1//agents", "/v1/agents/", "/V1/agents", "/v1/%61gents"),
        *("/v1/agents/desk-1/messages;x", "/v1/agents/desk-1%2Fmessages", "/v1/./agents", "/v1/../v1/agents"),
        *("/v1/messages/m1/", "/v1/dead-letters/", "/v1/events/", "/v1/unknown", "/unknown", "/healthz/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_a_path_that_is_spelled_otherwise_leads_nowhere(house: Guarded, method: str, path: str) -> None:
    assert house.status(method, path, None) == 401
    assert house.status(method, path, secret("nobody")) in (400, 403, 404, 405)


@pytest.mark.parametrize("each", MATRIX, ids=name_of_call)
@pytest.mark.parametrize("spell", [str.lower, str.title, str.swapcase], ids=["lower", "title", "swapped"])
def test_a_method_that_is_spelled_otherwise_is_none(house: Guarded, each: Call, spell: Callable[[str], str]) -> None:
    for holder in HOLDERS:
        status = house.status(spell(each.method), each.path.format(agent="desk-1", id="m1"), secret(holder), each.body)
        assert status == 400, (holder, status)


def test_of_a_message_only_its_publisher_and_admins_are_told(house: Guarded) -> None:
    def post(token: str | None) -> str:
        answer = house.begin("POST", "/v1/agents/desk-1/messages", token, b"1").answer("POST")
        return f"/v1/messages/{answer.json['id']}"

    own, others = post(secret("publisher")), post(secret("other"))
    assert house.status("GET", own, secret("publisher")) == 200
    assert house.status("GET", others, secret("publisher")) == 404
    assert house.status("DELETE", others, secret("publisher")) == 404
    assert house.status("GET", own, secret("agent")) == 403
    assert house.status("GET", others, secret("admin")) == 200
    assert house.status("DELETE", own, secret("publisher")) == 200
    assert house.status("DELETE", others, secret("admin")) == 200


def test_a_publisher_sees_less_of_an_agent_than_an_admin(house: Guarded) -> None:
    house.status("POST", "/v1/agents/desk-1/messages", secret("publisher"), b"1")
    seen = house.begin("GET", "/v1/agents/desk-1", secret("publisher")).answer().json
    assert set(seen) == {"agent", "connected", "since", "last_seen", "queued"}
    assert "remote" in house.begin("GET", "/v1/agents/desk-1", secret("admin")).answer().json


def test_each_line_of_a_batch_is_asked_for_its_own_agent(house: Guarded) -> None:
    agents = [*MEANT, *OTHERS]
    lines = b"".join(json.dumps({"agent": agent, "payload": 1, "wait": 0}).encode() + b"\n" for agent in agents)
    token = secret("publisher")
    client = house.begin("POST", "/v1/messages", token, lines, content_type="application/x-ndjson")
    _, body = unchunked(client.taken())
    results = [json.loads(line) for line in body.splitlines()]
    said = {agents[each["line"] - 1]: each.get("status") or each["problem"]["status"] for each in results}
    assert said == {agent: "queued" if agent in MEANT else 403 for agent in agents}


# -- frames


@pytest.mark.parametrize("agent", [*MEANT, *OTHERS])
@pytest.mark.parametrize("holder", list(HOLDERS))
def test_an_agent_registers_with_the_agent_scope_alone(house: Guarded, holder: str, agent: str) -> None:
    session = house.agent().say("register", agent=agent, token=secret(holder))
    kinds = [each["type"] for each in session.heard()]
    if holder == "agent" and agent in MEANT:
        assert kinds[0] == "registered" and session.closed is None
    else:
        assert kinds == ["error"] and session.closed == (4003, "forbidden")


@pytest.mark.parametrize("holder", list(HOLDERS))
def test_a_session_that_only_publishes_needs_publish_scope(house: Guarded, holder: str) -> None:
    session = house.agent().say("register", token=secret(holder))
    allowed = holder == "publisher"
    assert [each["type"] for each in session.heard()] == ["registered" if allowed else "error"]
    assert session.closed == (None if allowed else (4003, "forbidden"))


def in_header(house: Guarded, token: str | None) -> Caller:
    return house.agent(token=token).say("register", agent="desk-1")


def as_subprotocol(house: Guarded, token: str | None) -> Caller:
    offered = "relay.v1" if token is None else f"relay.v1, bearer.{token}"
    return house.agent(sec_websocket_protocol=offered).say("register", agent="desk-1")


def in_register(house: Guarded, token: str | None) -> Caller:
    return house.agent().say("register", agent="desk-1", token=token)


@pytest.mark.parametrize("holder", BAD)
@pytest.mark.parametrize("way", [as_subprotocol, in_register])
def test_nobody_registers_without_a_good_token(
    house: Guarded, holder: str, way: Callable[[Guarded, str | None], Caller]
) -> None:
    session = way(house, secret(holder))
    assert session.status == 101
    assert session.end() == (4003, "unauthenticated")


@pytest.mark.parametrize("holder", BAD[:-1])
def test_an_upgrade_with_a_bad_token_in_its_header_is_not_made(house: Guarded, holder: str) -> None:
    assert house.agent(token=secret(holder)).status == 401


@pytest.mark.parametrize("way", [in_header, as_subprotocol, in_register])
def test_every_carrier_is_good(house: Guarded, way: Callable[[Guarded, str | None], Caller]) -> None:
    session = way(house, secret("agent"))
    assert [each["type"] for each in session.heard()] == ["registered"]
    assert "bearer." not in session.head


@pytest.mark.parametrize("agent", [*MEANT, *OTHERS])
def test_a_publication_needs_publish_scope_for_its_agent(house: Guarded, agent: str) -> None:
    session = house.agent(token=secret("publisher")).say("register")
    session.say("publish", ref="r", agent=agent, payload=1, wait=0)
    result = session.heard()[-1]
    if agent in MEANT:
        assert result["status"] == "queued"
    else:
        assert (result["problem"]["type"], result["problem"]["status"]) == ("/problems/forbidden", 403)


def test_an_agent_may_not_publish_with_the_agent_scope(house: Guarded) -> None:
    session = house.agent(token=secret("agent")).say("register", agent="desk-1")
    session.say("publish", ref="r", agent="desk-1", payload=1, wait=0)
    assert session.heard()[-1]["problem"]["type"] == "/problems/forbidden"
