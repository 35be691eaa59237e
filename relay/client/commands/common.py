"""What the commands have in common: how they are run, what they say, and the options that all of them have."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import click
from twisted.internet.defer import Deferred

from relay.client.address import Address
from relay.client.admin import Admin
from relay.client.publisher import Publisher
from relay.client.tokens import Token
from relay.core.ids import is_agent_id

DEFAULT_URL: Final = "http://127.0.0.1:8080"

DONE, FAILED, QUEUED, INTERRUPTED = 0, 1, 3, 130  #: exit codes
DELIVERED = DONE

LONGEST_TOKEN: Final = 16 * 1024  #: bytes: a JWT with many claims

F = TypeVar("F", bound=Callable[..., Any])
V = TypeVar("V")


class Shift(Protocol):
    """A command at work."""

    reactor: Any
    token: str | None  #: from ``RELAY_TOKEN``: never from a command line, which everybody on the machine can read

    def on_interrupt(self, call: Callable[[], Deferred[None]]) -> None:
        """SIGINT and SIGTERM do this, instead of giving the job up. The job is then waited for."""


Job = Callable[[Shift], Coroutine[Any, Any, int]]
Run = Callable[[Job], int]  #: runs a job on a reactor to its end; its exit code


class AgentName(click.ParamType[str]):
    """An agent id."""

    name = "agent"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_agent_id(value):
            self.fail("an agent's name is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -, but not . or ..", param, ctx)
        return value


class RelayUrl(click.ParamType[str]):
    """The URL of a relay."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            Address.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


AGENT: Final = AgentName()


@dataclass(frozen=True, slots=True)
class Place:
    """Which relay is meant, and who asks."""

    url: str
    token_file: Path | None = None

    def token(self, shift: Shift) -> Token | None:
        """The token: what stands in the file, which is read each time, so that a fresh one can be put there."""
        return shift.token if self.token_file is None else partial(_read_token, self.token_file)

    def publisher(self, shift: Shift) -> Publisher:
        return Publisher(self.url, reactor=shift.reactor, token=self.token(shift))

    def admin(self, shift: Shift) -> Admin:
        return Admin(self.url, reactor=shift.reactor, token=self.token(shift))


def _read_token(path: Path) -> str:
    with path.open("rb") as file:
        token = file.read(LONGEST_TOKEN + 1).strip()
    if not token or len(token) > LONGEST_TOKEN:
        raise ValueError(f"{path} holds no token: it is one line of at most {LONGEST_TOKEN} bytes")
    return token.decode("ascii", "replace")


def at_relay(command: F) -> F:
    """The options that say which relay is meant, and the token; the command gets them as its ``place``."""

    @click.option(
        "--url", type=RelayUrl(), envvar="RELAY_URL", default=DEFAULT_URL, show_default=True, show_envvar=True,
        help="Where the relay is.",
    )  # fmt: skip
    @click.option(
        "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), envvar="RELAY_TOKEN_FILE",
        show_envvar=True, help="Where the token stands, if not in RELAY_TOKEN.",
    )  # fmt: skip
    @wraps(command)
    def placed(*args: Any, url: str, token_file: Path | None, **given: Any) -> Any:
        return command(*args, place=Place(url, token_file), **given)

    return cast(F, placed)


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def limited(limit: int) -> Callable[[AsyncIterator[V]], Coroutine[Any, Any, list[V]]]:
    """Collects what a list has, up to ``limit``, and says on standard error if it has more."""

    async def collect(items: AsyncIterator[V]) -> list[V]:
        found: list[V] = []
        async for item in items:
            if len(found) == limit:
                say(f"there are more than {limit}: see --limit")
                break
            found.append(item)
        return found

    return collect


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> list[str]:
    """Aligned lines under their headings; the columns of ``numbers`` to the right."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def say(sentence: str) -> None:
    """One line for people, on standard error."""
    click.echo(f"relay: {one_line(sentence)}", err=True)


def one_line(text: str) -> str:
    """The text with everything made visible that would move a cursor or colour a terminal."""
    return "".join(_visible(each) for each in text)


def harmless(text: str) -> str:
    """The same for a text of several lines."""
    return "".join(each if each in "\n\t" else _visible(each) for each in text)


def _visible(character: str) -> str:
    if unicodedata.category(character) == "Cc":
        return character.encode("unicode_escape").decode()
    return character
