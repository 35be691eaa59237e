"""The desk: receives what was said to the phone, and types it out.

    python desktop.py desk-1                     types into this terminal
    python desktop.py desk-1 --to notes.txt      appends each message to a file, as a line
    python desktop.py desk-1 --keyboard          types where the cursor is, in whatever program that may be

It comes back by itself when the relay or the network goes away, and what was said meanwhile comes then. A message is
acknowledged once it is typed, not before: one that could not be typed comes again later.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from relay.client import Agent, Joined, Message, Nack, Parted, Settings

#: Programs that type their standard input at the cursor, best first.
KEYBOARDS = {
    "xdotool": ["xdotool", "type", "--clearmodifiers", "--file", "-"],
    "wtype": ["wtype", "-"],
    "ydotool": ["ydotool", "type", "--file", "-"],
}
TYPING_SECONDS = 300.0  #: 20,000 characters take a keyboard a while
Handler = Callable[[Message], Coroutine[Any, Any, None]]


def find_keyboard() -> list[str]:
    """The command that types at the cursor. Ends the program with one clear line when there is none."""
    found = next((command for name, command in KEYBOARDS.items() if shutil.which(name)), None)
    if found is None:
        sys.exit(f"--keyboard needs one of {', '.join(KEYBOARDS)}: try 'apt install xdotool'")
    return found


def append_to(path: Path) -> Handler:
    """A handler that appends each message to a file, byte for byte, and ends it with a newline."""

    async def write(message: Message) -> None:
        with path.open("ab") as notes:
            notes.write(message.body + b"\n")

    return write


async def show(message: Message) -> None:
    """Type it into the terminal."""
    print(message.text, flush=True)


def type_with(command: list[str]) -> Handler:
    """A handler that gives each message to a keyboard."""

    def press(body: bytes) -> None:
        subprocess.run(command, input=body, check=True, timeout=TYPING_SECONDS)

    async def type_it(message: Message) -> None:
        try:
            await deferToThread(press, message.body)
        except (OSError, subprocess.SubprocessError) as error:
            raise Nack(f"could not type it: {error}", delay=5) from error

    return type_it


def tell(event: Joined | Parted) -> None:
    """Say on the screen, beside what is typed, whether anybody would be heard."""
    match event:
        case Joined(frame):
            print(f"listening as {frame.agent}, {frame.queued} waiting", file=sys.stderr, flush=True)
        case Parted(verdict, _):
            print(verdict.sentence, file=sys.stderr, flush=True)


async def run(reactor: Any, url: str, agent: str, handler: Handler) -> None:
    """Listen until the program is stopped, or the relay says that there is no use in coming back."""
    desk = Agent(url, agent, handler, reactor=reactor, settings=Settings(client="dictation desk"), notice=tell)
    reactor.addSystemEventTrigger("before", "shutdown", desk.stopService)
    desk.startService()
    verdict = await desk.when_stopped()
    if verdict is not None:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Type out what was said to the phone.")
    parser.add_argument("agent", help="this desk's name, desk-1 for one")
    parser.add_argument("--to", type=Path, help="append to this file")
    parser.add_argument("--keyboard", action="store_true", help="type at the cursor")
    parser.add_argument("--url", default=os.environ.get("RELAY_URL", "http://127.0.0.1:8080"))
    options = parser.parse_args()
    handler: Handler = show
    if options.to is not None:
        handler = append_to(options.to)
    elif options.keyboard:
        handler = type_with(find_keyboard())
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options.url, options.agent, handler)))


if __name__ == "__main__":
    main()
