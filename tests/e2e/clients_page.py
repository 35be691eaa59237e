"""Runs the code of docs/clients.md, block by block, against the relay whose URL is given: ``clients_page URL``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from relay.client import Admin, Publisher

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def names_of(url: str) -> dict[str, Any]:
    """What the blocks define, with the relay's URL in place of the one on the page."""
    names: dict[str, Any] = {}
    page = PAGE.read_text(encoding="utf-8").replace("http://127.0.0.1:8080", url)
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/clients.md", "exec"), names)
    return names


async def run(reactor: Any, url: str) -> None:
    names = names_of(url)
    publisher, admin = Publisher(url, reactor=reactor), Admin(url, reactor=reactor)
    events = admin.events(types=("agent.connected",))
    connected = aiter(events)
    await anext(connected)  # hello
    names["start"](reactor)
    await anext(connected)
    events.stop()
    await names["greet"](reactor)
    answer = await publisher.send("desk-1", "what becomes of me?")
    print("fate", await names["wait_for_it"](publisher, answer.id))
    order = SimpleNamespace(text="tea", number="order-1")
    await names["send_orders"](publisher, [order])
    print("exactly", names["exactly"](SimpleNamespace(raw=b"[1.10, 12345678901234567890]")))
    names["publish"](reactor)
    await names["look"](reactor)  # goes on until this process is ended


def main(reactor: Any, url: str) -> Deferred[None]:
    return Deferred.fromCoroutine(run(reactor, url))


if __name__ == "__main__":
    react(main, sys.argv[1:])
