"""``python -m relay.client``: the command line where no console script is installed."""

from __future__ import annotations

from relay.client.cli import main

main()
