"""Figures for Prometheus (``/metrics``): gathered when somebody asks, and read where they are kept anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import relay
from relay.core.counters import Counters
from relay.core.ports import Floor
from relay.edge.answer import Answer
from relay.edge.visitors import Visitors

TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

#: a member of ``Figures`` -> what it is
GAUGES: Final = {
    "sessions": "Sessions that hold an agent",
    "unregistered": "Connections of agents that hold none, or none yet",
    "queued": "Messages that are durable and have not ended",
    "queued_bytes": "Payloads of those",
    "held_bytes": "Payloads of messages under way that are only in memory",
    "unrecorded": "Ends of messages that the store does not know yet",
}


class Metrics(Collector):
    """All that the relay counts. ``plugins`` and ``counted`` say how plugins do, and what they count themselves."""

    def __init__(
        self,
        hub: Floor,
        counters: Counters,
        visitors: Visitors,
        plugins: Callable[[], list[dict[str, Any]]],
        counted: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        self._hub = hub
        self._counters = counters
        self._visitors = visitors
        self._plugins = plugins
        self._counted = counted
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def answer(self) -> Answer:
        """The figures of this moment, in Prometheus' text format."""
        return Answer(200, ((b"Content-Type", TYPE),), generate_latest(self._registry))

    def describe(self) -> list[Metric]:
        """Nothing: the names are ours alone, and nobody need gather figures to know them."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What there is, and what happened since the start."""
        figures, state = self._hub.figures(), self._hub.readiness()
        about = GaugeMetricFamily("relay_build_info", "The relay's version", labels=("version",))
        about.add_metric((relay.__version__,), 1)
        yield about
        yield GaugeMetricFamily("relay_ready", "Does it accept messages now? As /readyz", int(state.ready))
        yield GaugeMetricFamily("relay_durable", "Does what is queued survive a restart?", int(state.durable))
        yield GaugeMetricFamily("relay_connections", "Connections in all", self._visitors.connected)
        for name, what in GAUGES.items():
            yield GaugeMetricFamily(f"relay_{name}", what, getattr(figures, name))
        events = {name if "." in name else f"message.{name}": number for name, number in figures.events.items()}
        yield _counter("relay_events", "What happened, by its name in /v1/events", ("event",), _keyed(events))
        yield _counter("relay_limits_reached", "How often each limit was", ("limit",), _keyed(self._counters.table()))
        yield from self._of_plugins()

    def _of_plugins(self) -> Iterator[Metric]:
        states = GaugeMetricFamily("relay_plugin_working", "0: its last call failed, or it is off", labels=("plugin",))
        failures, drops = dict[tuple[str, ...], int](), dict[tuple[str, ...], int]()
        for plugin in self._plugins():
            key = (plugin["name"],)
            states.add_metric(key, int(plugin["state"] == "working"))
            failures[key], drops[key] = plugin["failures"], plugin["drops"]
        yield states
        yield _counter("relay_plugin_failures", "Calls that failed", ("plugin",), failures)
        yield _counter("relay_plugin_drops", "Notices that it was not told, being too slow", ("plugin",), drops)
        own = {key: number for key, number in self._counted().items() if key[1] not in ("failures", "drops")}
        yield _counter("relay_plugin_counted", "What plugins count themselves", ("plugin", "counter"), own)


def _keyed(numbers: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    return {(name,): number for name, number in numbers.items()}


def _counter(name: str, what: str, labels: Sequence[str], numbers: Mapping[Any, int]) -> CounterMetricFamily:
    """``numbers`` by the values of the labels."""
    family = CounterMetricFamily(name, what, labels=labels)
    for values, number in numbers.items():
        family.add_metric(values, number)
    return family
