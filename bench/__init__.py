"""The benchmark: the relay and a peer under the same load, in turn, in one run (docs/performance.md)."""
