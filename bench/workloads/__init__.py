"""Everything that is measured, by its letter."""

from __future__ import annotations

from typing import Final

from bench.workload import Workload
from bench.workloads.absent import ABSENT
from bench.workloads.bulk import BULK
from bench.workloads.crowd import IDLE, STORM
from bench.workloads.drain import DRAIN
from bench.workloads.latency import LATENCY
from bench.workloads.million import MILLION
from bench.workloads.trips import TRIPS

WORKLOADS: Final[dict[str, Workload]] = {
    "a": TRIPS,
    "b": BULK,
    "c": ABSENT,
    "d": DRAIN,
    "e": IDLE,
    "f": STORM,
    "g": LATENCY,
    "h": MILLION,
}
