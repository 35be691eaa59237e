"""A store of the relay on PostgreSQL. Described to the relay by ``relay/plugins/relay_postgres.py``."""

from __future__ import annotations

__version__ = "0.1.0"
