"""The phone: hands what was said to the desk. One HTTP POST, as any shortcut on a phone can make it.

    python phone.py desk-1 "Remind me to call the plumber before noon."
    python phone.py desk-1 --file note.txt --file words.json
    echo "typed by nobody" | python phone.py desk-1

Ends with 0 if the desk has typed everything, 3 if something waits for it in the queue, 1 if something was refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
EXIT = {"delivered": 0, "queued": 3}
#: A proxy of the environment is for the internet; the relay is a neighbour.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def say(url: str, agent: str, body: bytes, content_type: str, wait: int) -> str:
    """POST one message and say in a word what became of it. Raises OSError, which every refusal is too."""
    headers = {"Content-Type": content_type, "Prefer": f"wait={wait}"}
    request = urllib.request.Request(f"{url}/v1/agents/{agent}/messages", body, headers)
    with OPENER.open(request, timeout=wait + 10) as answer:
        return str(json.load(answer)["status"])


def explain(error: OSError) -> str:
    """A refusal in a sentence: the relay sends a problem with a ``detail`` for people."""
    if isinstance(error, urllib.error.HTTPError):
        with error:
            return f"refused with {error.code}: {json.load(error)['detail']}"
    return f"not sent: {error}"


def sayings(options: argparse.Namespace) -> Iterator[tuple[bytes, str]]:
    """What is to be said, with its content type: the words, the files, or what comes in."""
    if options.text:
        yield " ".join(options.text).encode(), TEXT
    for path in options.file:
        yield path.read_bytes(), JSON if path.suffix == ".json" else TEXT
    if not options.text and not options.file:
        yield sys.stdin.buffer.read(), TEXT


def main() -> int:
    parser = argparse.ArgumentParser(description="Send what was said to a desk.")
    parser.add_argument("agent", help="the desk's name, desk-1 for one")
    parser.add_argument("text", nargs="*", help="what to say; standard input if nothing is given")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a message in a file; may be repeated")
    parser.add_argument("--url", default=os.environ.get("RELAY_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--wait", type=int, default=5, help="seconds to wait for the desk (5)")
    options = parser.parse_intermixed_args()  # words may follow options
    worst = 0
    for body, content_type in sayings(options):
        try:
            status = say(options.url, options.agent, body, content_type, options.wait)
        except OSError as error:
            print(explain(error), file=sys.stderr)
            return 1
        print(status)
        worst = max(worst, EXIT[status])
    return worst


if __name__ == "__main__":
    sys.exit(main())
