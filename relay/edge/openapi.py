"""The calls of the HTTP door as an OpenAPI 3.1 document: what each takes, and every status that it may answer with.

The words of the problems come from the table of the problems: a word that is added there is in the document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from relay.core.access import Need
from relay.core.problems import PROBLEMS
from relay.edge.answer import ENDS
from relay.edge.events import TYPES
from relay.edge.query import PAGE_DEFAULT, PAGE_MOST
from relay.edge.scopes import CALLS
from relay.edge.shapes import (
    AGENT_ID,
    ANYTHING,
    COUNT,
    MESSAGE_ID,
    TEXT,
    YES_OR_NO,
    Schema,
    ref,
    schemas,
)

#: What any call may be told: a bad head or path, a foreign origin, a head or body too large, too slow or compressed,
#: too many requests of its address or publisher.
EVERYWHERE: Final = (400, 403, 404, 408, 413, 415, 421, 429, 431, 500)


def document() -> Schema:
    """The whole document, ready for JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "relay",
            "version": "1",
            "summary": "Gets a message to a program which nobody can reach",
            "description": "Version 1 of the contract: the calls over HTTP. Fields that are not known are ignored.",
        },
        "paths": _with_scopes(_paths()),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> Schema:
    return {
        "/v1/agents/{agent}/messages": {"parameters": [_AGENT], **_messages_of_an_agent()},
        "/v1/messages": {"post": _batch()},
        "/v1/messages/{id}": {"parameters": [_ID], **_one_message()},
        "/v1/agents": {"get": _agents()},
        "/v1/agents/{agent}": {
            "parameters": [_AGENT],
            "get": _call("agent", "An agent that is known here", _ok("Agent"), 503),
        },
        "/v1/agents/{agent}/session": {
            "parameters": [_AGENT],
            "delete": _call("disconnect", "Close the agent's session with 4005", _ok("Deleted")),
        },
        "/v1/agents/{agent}/next": {"parameters": [_AGENT], "get": _next()},
        "/v1/agents/{agent}/acks": {"parameters": [_AGENT], "post": _acks()},
        "/v1/dead-letters": {"get": _call("letters", "Dead letters", _ok("DeadLetters"), 503, takes=[_LIMIT, _CURSOR])},
        "/v1/dead-letters/{id}": {
            "parameters": [_ID],
            "delete": _call("discard", "Put a dead letter away", _ok("Deleted"), 503),
        },
        "/v1/dead-letters/{id}/requeue": {
            "parameters": [_ID],
            "post": _call("requeue", "Send a dead letter again", _ok("MessageInQueue"), 429, 503),
        },
        "/v1/events": {"get": _events()},
        "/v1/connect": {"get": _connect()},
        "/healthz": {"get": _call("health", "Alive", _ok("Health"))},
        "/readyz": {"get": _call("readiness", "Able to accept messages", _ok("Ready"), 503, takes=[_VERBOSE])},
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _call("openapi", "This document", _ok("Description"))},
    }


def _with_scopes(paths: Schema) -> Schema:
    """The calls, and for each what the table of scopes says of it."""
    for path, calls in paths.items():
        needs = CALLS[re.sub(r"\{\w+\}", "*", path)]
        for method in calls.keys() - {"parameters"}:
            call, need = calls[method], needs[method.upper()]
            call["security"] = [] if need is Need.NOTHING else [{"bearer": []}]
            if need is not Need.NOTHING:
                call["description"] = f"Where tokens are needed: {need.value}."
                call["responses"] |= {"401": _problem(401), "503": _problem(503)}
    return paths


# -- parts


def _given(name: str, where: str, schema: Schema, what: str = "", *, required: bool = False) -> Schema:
    parameter = {"name": name, "in": where, "schema": schema, "required": required}
    return parameter | ({"description": what} if what else {})


def _header(what: str, schema: Schema = TEXT) -> Schema:
    return {"description": what, "schema": schema}


def _answer(what: str, schema: Schema, media: str = "application/json", headers: Schema | None = None) -> Schema:
    answer: Schema = {"description": what, "content": {media: {"schema": schema}}}
    return answer | ({"headers": headers} if headers else {})


def _ok(name: str) -> Schema:
    return {"200": _answer("Done", ref(name))}


def _problem(status: int) -> Schema:
    """The answer of a status that is a problem: the words that it may be."""
    words = [word for word, (number, _title) in PROBLEMS.items() if number == status]
    headers: dict[str, Schema] = {}
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, **_header("`Bearer`")}
    if status in (429, 503):
        headers["Retry-After"] = {"required": True, **_header("Seconds until it may be tried again", COUNT)}
    if ENDS.intersection(words):
        headers["Idempotent-Replay"] = _header("`true`: the message was known by its key")
        headers["Relay-Status"] = _header("How it ended, if it is about a message")
        headers["Location"] = _header("`/v1/messages/{id}`, if there is something to be seen there")
    return _answer(f"A problem: {', '.join(f'`{word}`' for word in words)}", ref("Problem"), _PROBLEM_JSON, headers)


def _call(
    name: str, what: str, good: Schema, *bad: int, takes: Sequence[Schema] = (), body: Schema | None = None
) -> Schema:
    """One call. ``good``: answers by status; ``bad``: statuses of problems beside those that any call may be told."""
    problems = {str(status): _problem(status) for status in sorted({*EVERYWHERE, *bad})}
    call: Schema = {"operationId": name, "summary": what, "responses": good | problems}
    if takes:
        call["parameters"] = list(takes)
    if body is not None:
        call["requestBody"] = body
    return call


_PROBLEM_JSON: Final = "application/problem+json"
_AGENT: Final = _given("agent", "path", {"type": "string", "pattern": AGENT_ID}, "Not . or ..", required=True)
_ID: Final = _given("id", "path", {"type": "string", "pattern": MESSAGE_ID}, required=True)
_LIMIT: Final = _given(
    "limit", "query", {"type": "integer", "minimum": 1, "maximum": PAGE_MOST, "default": PAGE_DEFAULT}
)
_CURSOR: Final = _given("cursor", "query", TEXT, "The `next` of an earlier page")
_VERBOSE: Final = _given("verbose", "query", TEXT, "Given, with or without a value: how the plugins do, too")
_PREFER: Final = _given("Prefer", "header", TEXT, "`wait=N`, seconds (RFC 7240)")
_APPLIED: Final = _header("The wait that applies")


# -- calls


def _messages_of_an_agent() -> Schema:
    post = _call("submit", "Send a message", _accepted(), 409, 410, 422, 429, 503, 504, takes=_asked(), body=_payload())
    with_payload = _given("payload", "query", YES_OR_NO, "Show the payloads too")
    queue = _call("queue", "What is queued", _ok("Queue"), 503, takes=[_LIMIT, _CURSOR, with_payload])
    return {"post": post, "get": queue, "delete": _call("empty", "Cancel what is queued", _ok("Deleted"), 503)}


def _accepted() -> Schema:
    headers = {
        "Location": {"required": True, **_header("`/v1/messages/{id}`")},
        "Relay-Status": {"required": True, **_header("The `status` of the body")},
        "Preference-Applied": _APPLIED,
        "TTL": _header("The time to live that applies, in seconds", COUNT),
        "Idempotent-Replay": _header("`true`: the message was known by its key"),
    }
    return {
        "200": _answer("`delivered`, or `queued` and durable", ref("Outcome"), headers=headers),
        "202": _answer("`accepted` and durable", ref("Outcome"), headers=headers),
    }


def _asked() -> list[Schema]:
    """The headers that a POST may have. ``Relay-Meta-*`` is a family of names, which OpenAPI cannot tell."""
    return [
        _given("Prefer", "header", TEXT, "`wait=N`, seconds, and `respond-async` (RFC 7240)"),
        _given("TTL", "header", {"type": "string", "pattern": "^[0-9]{1,12}$"}, "Seconds (RFC 8030)"),
        _given("Topic", "header", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,32}$"}, "RFC 8030"),
        _given("Idempotency-Key", "header", {"type": "string", "pattern": "^[!-~]{1,255}$"}),
        _given("Callback-URL", "header", TEXT, "https, at a host that the configuration allows"),
    ]


def _payload() -> Schema:
    media = {"application/json": ANYTHING, "text/plain": TEXT, "application/octet-stream": ANYTHING}
    return {"required": True, "content": {name: {"schema": schema} for name, schema in media.items()}}


def _batch() -> Schema:
    what = "One message a line, read as it comes; one result a line, as each is known"
    good = {"200": _answer(what, ref("Result"), "application/x-ndjson")}
    body = {"required": True, "content": {"application/x-ndjson": {"schema": ref("Line")}}}
    return _call("batch", "Send messages, line by line", good, 503, body=body)


def _one_message() -> Schema:
    good = {"200": _answer("The message", ref("Message"), headers={"Preference-Applied": _APPLIED})}
    return {
        "get": _call("message", "A message and what became of it", good, 503, takes=[_PREFER]),
        "delete": _call("cancel", "Cancel a message that is queued", _ok("Deleted"), 409, 503),
    }


def _agents() -> Schema:
    takes = [_LIMIT, _CURSOR, _given("connected", "query", YES_OR_NO), _given("prefix", "query", TEXT)]
    return _call("agents", "The agents that are known here", _ok("Agents"), 503, takes=takes)


def _next() -> Schema:
    number: Schema = {"type": "number", "minimum": 0}
    takes = [
        _given("wait", "query", number | {"default": 30}, "Seconds"),
        _given("max", "query", COUNT | {"default": 100}, "Messages, at most 1000"),
        _given("max_in_flight", "query", COUNT, "Of the first call"),
        _given("ack_wait", "query", number, "Of the first call; seconds"),
        _given("raw", "query", YES_OR_NO, "Of the first call"),
        _given("client", "query", TEXT, "Of the first call"),
        _given("resume", "query", TEXT, "Of the first call"),
        _given("Relay-Session", "header", TEXT, "Of the later calls"),
    ]
    return _call("next", "What is for an agent that polls", _ok("Next"), 409, 410, 503, takes=takes)


def _acks() -> Schema:
    takes = [_given("Relay-Session", "header", TEXT, required=True)]
    body = {"required": True, "content": {"application/json": {"schema": ref("Said")}}}
    return _call("acks", "What an agent that polls says of its messages", _ok("Heard"), 410, takes=takes, body=body)


def _events() -> Schema:
    words = f"Of {', '.join(f'`{word}`' for word in sorted(TYPES))}, parted by commas"
    takes = [
        _given("agent", "query", TEXT),
        _given("types", "query", TEXT, words),
        _given("Last-Event-ID", "header", TEXT, "Where to go on"),
    ]
    stream = _answer("Server-Sent Events, without an end; the first is `hello`", TEXT, "text/event-stream")
    return _call("events", "What happens here, as it happens", {"200": stream}, 503, takes=takes)


def _metrics() -> Schema:
    figures = _answer(
        "Prometheus' text format: gauges and counters, each with a line that says what it is", TEXT, "text/plain"
    )
    return _call("metrics", "What there is, and what happened since the start", {"200": figures})


def _connect() -> Schema:
    good = {"101": {"description": "A WebSocket, which speaks the subprotocol `relay.v1`"}}
    return _call("connect", "The door of the agents: an upgrade to WebSocket", good, 426, 429, 503)
