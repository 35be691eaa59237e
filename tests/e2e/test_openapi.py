"""The document at ``/openapi.json`` is true: what schemathesis makes of it is put to a relay, and every answer to that
must be one that the document tells of.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from relay.core.tokenfile import TokenEntry, digest_of, with_token
from relay.edge import openapi
from tests.e2e.door import get, post, request
from tests.e2e.support import Daemon

pytestmark = pytest.mark.e2e

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Answered by no single document: an upgrade, a stream without an end, and lines, which have tests of their own.
ELSEWHERE = {"connect", "events", "batch"}
DOCUMENT = openapi.document()
CALLS = {
    call["operationId"]: (path, method)
    for path, calls in DOCUMENT["paths"].items()
    for method, call in calls.items()
    if method != "parameters"
}
TRIED = sorted(set(CALLS) - ELSEWHERE)
ROLES: dict[str, dict[str, Any]] = {
    "publisher": {"publish": ("*",)},
    "agent": {"agent": ("*",)},
    "admin": {"admin": True},
    "all": {"publish": ("*",), "agent": ("*",), "admin": True},
    "narrow": {"publish": ("0*",), "agent": ("0*",)},
}


def put(relay: Daemon, case: Case[Any], role: str | None) -> None:
    """Send it and check the answer. Nothing here waits for an agent that does not come."""
    if "next" in case.path:
        case.query = {**(case.query or {}), "wait": "0"}
    case.headers.update(bearer(role))
    answer = case.call(base_url=relay.url, timeout=20)
    case.validate_response(answer, checks=CHECKS)
    bare = "Authorization" not in answer.request.headers  # schemathesis takes it away too, among what is forbidden
    assert bare or answer.status_code != 401, answer.text
    # What is now or never, and for an agent that is away, cannot be delivered: that is an answer and no failure.
    assert answer.status_code < 500 or answer.json()["type"] == "/problems/undeliverable", answer.text


def bearer(role: str | None) -> dict[str, str]:
    """Agents that called ``next`` are here for a minute: nobody waits for their ACKs."""
    return {} if role is None else {"Authorization": f"Bearer {token_of(role)}", "Prefer": "wait=0"}


def token_of(role: str) -> str:
    return f"the-token-of-{role}".ljust(43, "0")


def tried(relay: Daemon, name: str, mode: GenerationMode, examples: int, role: str | None = None) -> None:
    path, method = CALLS[name]
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]

    @seed(1)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Case[Any]) -> None:
        put(relay, case, role)

    each()


@pytest.mark.parametrize("name", TRIED)
def test_what_the_document_allows_is_answered_as_it_says(shared: Daemon, name: str) -> None:
    tried(shared, name, GenerationMode.POSITIVE, 6)


@pytest.mark.parametrize("name", [name for name in TRIED if name not in {"health", "readiness", "openapi"}])
def test_what_the_document_forbids_is_answered_as_it_says(shared: Daemon, name: str) -> None:
    tried(shared, name, GenerationMode.NEGATIVE, 6)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TRIED)
def test_much_of_what_the_document_allows_is_answered_as_it_says(shared: Daemon, name: str) -> None:
    tried(shared, name, GenerationMode.POSITIVE, 500)


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A relay that asks for tokens, and knows one of each role."""
    folder = tmp_path_factory.mktemp("asking")
    tokens = ""
    for role, scopes in ROLES.items():
        tokens = with_token(tokens, TokenEntry(role, digest_of(token_of(role)), **scopes))
    (folder / "auth.toml").write_text(tokens)
    (folder / "auth.toml").chmod(0o600)
    with Daemon(folder, "--auth-file", "auth.toml") as daemon:
        yield daemon
    assert not daemon.complaints(), daemon.past


@pytest.mark.parametrize("name", TRIED)
def test_without_a_token_every_call_is_answered_as_the_document_says(asking: Daemon, name: str) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[CALLS[name][0]][CALLS[name][1]]
    open_to_all = {"health", "readiness", "openapi"}
    path = {parameter.name: "nobody" for parameter in operation.path_parameters}
    case = operation.Case(path_parameters=path)
    answer = case.call(base_url=asking.url, timeout=20)
    case.validate_response(answer, checks=CHECKS)
    assert (answer.status_code == 401) == (name not in open_to_all), answer.text


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", [name for name in TRIED if name not in {"health", "readiness", "openapi"}])
def test_with_a_token_of_each_role_every_call_is_answered_as_the_document_says(
    asking: Daemon, name: str, role: str
) -> None:
    tried(asking, name, GenerationMode.POSITIVE, 1, role)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", [name for name in TRIED if name not in {"health", "readiness", "openapi"}])
def test_much_with_a_token_of_each_role_is_answered_as_the_document_says(
    asking: Daemon, name: str, role: str, mode: GenerationMode
) -> None:
    tried(asking, name, mode, 25, role)


def exactly(relay: Daemon, name: str, *, body: Any = None, query: dict[str, str] | None = None, **path: str) -> Any:
    """One call of our own, its answer checked like the others; the JSON of it."""
    template, method = CALLS[name]
    operation = schemathesis.openapi.from_dict(DOCUMENT)[template][method]
    given_body = {} if body is None else {"body": body, "media_type": "application/json"}
    case = operation.Case(path_parameters=path, query=query or {}, **given_body)
    answer = case.call(base_url=relay.url, timeout=20)
    case.validate_response(answer, checks=CHECKS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_there_is_shown_as_the_document_says(shared: Daemon) -> None:
    assert exactly(shared, "readiness", query={"verbose": ""})["plugins"]
    sent = exactly(shared, "submit", agent="shown", body={"text": "hello"})
    assert sent["reason"] == "away"
    assert exactly(shared, "agent", agent="shown")["queued"] == 1
    assert "shown" in {agent["agent"] for agent in exactly(shared, "agents")["items"]}
    assert exactly(shared, "queue", agent="shown", query={"payload": "true"})["items"][0]["payload"]
    assert exactly(shared, "message", id=sent["id"])["timeline"]
    polled = exactly(shared, "next", agent="shown", query={"wait": "5", "max_in_flight": "1"})
    assert [message["id"] for message in polled["messages"]] == [sent["id"]]
    said = json.dumps({"nacks": [{"id": sent["id"], "requeue": False, "reason": "no"}]}).encode()
    headers = {"Relay-Session": polled["session"], "Content-Type": "application/json"}
    assert request(shared.port, "POST", "/v1/agents/shown/acks", said, headers).json == {"errors": []}
    # The nack is answered before its end is on the disk: the letter may be there a moment later.
    # There are others too: what was tried with a short time to live expires at any moment.
    pages = (exactly(shared, "letters", query={"limit": "1000"})["items"] for _ in range(200))
    found = ({letter["id"]: letter["status"] for letter in page} for page in pages)
    letters = next(letters for letters in found if sent["id"] in letters)
    assert letters[sent["id"]] == "rejected"
    assert exactly(shared, "requeue", id=sent["id"])["id"] == sent["id"]
    assert post(shared.port, "shown", "1").status == 200
    assert exactly(shared, "disconnect", agent="shown") == {"deleted": 1}
    assert exactly(shared, "empty", agent="shown")["deleted"] >= 1


def test_the_lines_of_a_batch_are_those_of_the_document(shared: Daemon) -> None:
    lines = b'{"agent":"lines","payload":1,"wait":0}\n{"agent":"no/agent","payload":1,"ref":"r"}\nnot json\n'
    answer = request(shared.port, "POST", "/v1/messages", lines, {"Content-Type": "application/x-ndjson"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    results = {told["line"]: told for told in map(json.loads, answer.body.splitlines())}
    accepted, refused = DOCUMENT["components"]["schemas"]["Result"]["anyOf"]
    assert set(accepted["required"]) <= set(results[1]) <= set(accepted["properties"])
    for line in (2, 3):
        assert set(refused["required"]) <= set(results[line]) <= set(refused["properties"])
        words = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        assert results[line]["problem"]["type"] in words


def test_the_events_are_a_stream_as_the_document_says(shared: Daemon) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 20) as line:
        line.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = b""
        while b"event: hello" not in head:
            piece = line.recv(4096)
            assert piece, head
            head += piece
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head.lower()


def test_a_plain_get_of_the_agents_door_is_426_as_the_document_says(shared: Daemon) -> None:
    answer = get(shared.port, "/v1/connect")
    assert (answer.status, answer.problem) == (426, "upgrade-required")
    assert str(answer.status) in DOCUMENT["paths"]["/v1/connect"]["get"]["responses"]
