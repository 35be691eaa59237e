"""What Prometheus is told: figures of what is there, and of what happened, in a form that its own parser reads."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from relay.core.counters import Counters
from relay.edge.metrics import TYPE, Metrics
from relay.edge.visitors import Visitors
from tests.edge.support import get, post
from tests.edge.whole import Relay


def read(text: bytes) -> dict[str, float]:
    """The samples by their names and labels, as they stand in the text."""
    return {
        " ".join([sample.name, *(value for _, value in sorted(sample.labels.items(), reverse=True))]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def figures(relay: Relay) -> dict[str, float]:
    answer = relay.ask(get("/metrics"))
    assert (answer.status, answer.headers["content-type"]) == (200, TYPE.decode())
    return read(answer.body)


def test_it_says_who_is_here_and_what_is_queued(relay: Relay) -> None:
    relay.agent("desk-1")
    relay.post(b'"12345"', agent="away")
    relay.begin(get("/v1/agents/poller/next?wait=30"))
    found = figures(relay)
    assert (found["relay_ready"], found["relay_durable"]) == (1, 0)
    assert (found["relay_sessions"], found["relay_unregistered"], found["relay_unrecorded"]) == (2, 0, 0)
    assert (found["relay_queued"], found["relay_queued_bytes"], found["relay_held_bytes"]) == (1, 7, 0)
    assert found["relay_connections"] == 3  # the POST, the poll and this
    assert found["process_resident_memory_bytes"] > 1e6


def test_it_counts_what_happened_by_the_names_of_the_events(relay: Relay) -> None:
    agent = relay.agent("desk-1")
    for _ in range(3):
        relay.begin(post("desk-1", b"1"))
    agent.ack_all()
    relay.settle()
    relay.post(b"1", agent="away")
    found = figures(relay)
    events = {name.split(" ")[1]: value for name, value in found.items() if name.startswith("relay_events_total")}
    assert events == {
        "agent.connected": 1,
        "message.accepted": 4,
        "message.sent": 3,
        "message.delivered": 3,
        "message.queued": 1,
    }


def test_it_counts_the_limits_that_were_reached(relay: Relay) -> None:
    relay.post(b"1" * (relay.limits.payload + 1))
    found = figures(relay)
    assert found["relay_limits_reached_total payload"] == 1
    assert found["relay_limits_reached_total queue_count"] == 0


def test_it_says_when_nothing_is_accepted(relay: Relay) -> None:
    relay.hub.drain()
    relay.settle()
    assert figures(relay)["relay_ready"] == 0


def test_it_says_how_plugins_do_and_what_they_count(relay: Relay) -> None:
    plugins: list[dict[str, Any]] = [
        {"name": "good", "version": "1", "state": "working", "failures": 0, "drops": 0},
        {"name": "bad", "version": "1", "state": "off", "failures": 20, "drops": 3},
    ]
    counted = {("bad", "failures"): 20, ("bad", "drops"): 3, ("good", "redacted"): 7}
    counters = Counters()
    visitors = Visitors(relay.limits, relay.clock, counters)
    found = read(Metrics(relay.hub, counters, visitors, lambda: plugins, lambda: counted).answer().body)
    assert {name: value for name, value in found.items() if "plugin" in name} == {
        "relay_plugin_working good": 1,
        "relay_plugin_working bad": 0,
        "relay_plugin_failures_total good": 0,
        "relay_plugin_failures_total bad": 20,
        "relay_plugin_drops_total good": 0,
        "relay_plugin_drops_total bad": 3,
        "relay_plugin_counted_total good redacted": 7,
    }
