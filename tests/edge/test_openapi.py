"""The document that describes the calls knows all of them, and every word of a refusal."""

from __future__ import annotations

import re

from relay.core.problems import PROBLEMS
from relay.edge import openapi
from relay.edge.http import HttpDoor
from tests.edge.support import House, get


def test_every_call_of_the_door_is_described() -> None:
    described = {
        (path, method.upper())
        for path, calls in openapi.document()["paths"].items()
        for method in calls
        if method != "parameters"
    }
    served = {
        (re.sub("<(?:segment:)?([a-z]+)>", r"{\1}", rule.rule), method)
        for rule in HttpDoor.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert len(served) > 15
    assert described - served == {("/v1/connect", "GET")}  # answered before the router is asked
    assert not served - described


def test_every_call_says_whether_it_needs_a_token() -> None:
    for path, calls in openapi.document()["paths"].items():
        for method in calls.keys() - {"parameters"}:
            call = calls[method]
            free = path in ("/healthz", "/readyz", "/openapi.json")
            assert call["security"] == ([] if free else [{"bearer": []}]), path
            assert ("401" in call["responses"]) != free and "403" in call["responses"], path
    assert "bearer" in openapi.document()["components"]["securitySchemes"]


def test_every_word_of_a_problem_is_described() -> None:
    told = openapi.document()["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert told == [f"/problems/{word}" for word in PROBLEMS]


def test_every_reference_leads_somewhere() -> None:
    document = openapi.document()
    named = set(re.findall("'#/components/schemas/([A-Za-z]+)'", str(document)))
    assert named == set(document["components"]["schemas"])


def test_every_problem_with_a_time_to_come_again_says_so() -> None:
    for path, calls in openapi.document()["paths"].items():
        for method, call in calls.items():
            if method == "parameters":
                continue
            for status in {"429", "503"} & set(call["responses"]):
                assert call["responses"][status]["headers"]["Retry-After"]["required"], (path, method)


def test_the_document_is_served(house: House) -> None:
    answer = house.ask(get("/openapi.json"))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == openapi.document()
