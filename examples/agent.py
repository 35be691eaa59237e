"""An agent that prints what it is sent, until Ctrl-C.

relay serve &
python examples/agent.py http://127.0.0.1:8080 desk-1
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task

from relay.client import Agent, Joined, Message, Nack, Parted


async def handle(message: Message) -> None:
    """When this returns, the message is acknowledged. What it raises gives the message back."""
    if not message.text.strip():
        raise Nack("there is nothing to print", requeue=False)
    print(message.text, flush=True)


def tell(event: Joined | Parted) -> None:
    match event:
        case Joined(frame):
            print(f"registered as {frame.agent}, {frame.queued} waiting", file=sys.stderr, flush=True)
        case Parted(verdict, again_in):
            print(f"{verdict.sentence}; again in {again_in} s", file=sys.stderr, flush=True)


async def main(reactor: Any, url: str, name: str) -> None:
    agent = Agent(url, name, handle, reactor=reactor, notice=tell)
    reactor.addSystemEventTrigger("before", "shutdown", agent.stopService)
    agent.startService()
    verdict = await agent.when_stopped()
    if verdict is not None:
        raise SystemExit(verdict.sentence)


task.react(main, sys.argv[1:])
