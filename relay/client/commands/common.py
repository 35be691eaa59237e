"""What the commands have in common: how they are run, what they say, and the options that all of them have."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import click
from twisted.internet.defer import Deferred

from relay.client.address import Address
from relay.core.ids import is_agent_id

DEFAULT_URL: Final = "http://127.0.0.1:8080"

DELIVERED, FAILED, QUEUED, INTERRUPTED = 0, 1, 3, 130  #: exit codes

F = TypeVar("F", bound=Callable[..., Any])


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

url_option: Final = click.option(
    "--url",
    type=RelayUrl(),
    envvar="RELAY_URL",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="Where the relay is.",
)


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
