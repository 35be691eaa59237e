"""Sends one message, and says what became of it.

python examples/publish.py http://127.0.0.1:8080 desk-1 "Good morning"
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task

from relay.client import Publisher, Refused, Unreachable


async def main(reactor: Any, url: str, agent: str, text: str) -> None:
    publisher = Publisher(url, reactor=reactor)
    try:
        answer = await publisher.send(agent, text, wait=10)
    except Refused as refused:
        raise SystemExit(f"refused: {refused.problem.detail}") from None
    except Unreachable as unreachable:
        raise SystemExit(f"nobody knows: {unreachable}") from None
    finally:
        await publisher.close()
    print(answer.status, answer.reason or "", answer.id)


task.react(main, sys.argv[1:])
