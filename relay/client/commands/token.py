"""``relay token``: who may use a relay. It edits the token file, and the relay sees that by itself."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from relay.client.commands.common import say
from relay.core.access import is_pattern
from relay.core.tokenfile import (
    TOKEN_BYTES,
    BadTokenFile,
    TokenEntry,
    digest_of,
    is_token_name,
    read,
    with_token,
    without_token,
)
from relay.core.wire import stamp

MODE: Final = 0o600
UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LONGEST: Final = 100 * 365 * 86400  #: seconds until a token expires

HEADINGS: Final = ("NAME", "PUBLISH", "AGENT", "ADMIN", "CREATED", "EXPIRES")

Wall = Callable[[], float]


class TokenName(click.ParamType[str]):
    """What a token is called."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_token_name(value):
            self.fail("a token's name is 1 to 64 characters of A-Z a-z 0-9 . _ @ ~ + -", param, ctx)
        return value


class Pattern(click.ParamType[str]):
    """A pattern of agents."""

    name = "pattern"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_pattern(value):
            self.fail("a pattern is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and * (any run of them)", param, ctx)
        return value


class Span(click.ParamType[float]):
    """A time such as 90d; in seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]{1,9})([mhdw])", str(value), re.ASCII)
        if match is None or not 0 < (seconds := int(match[1]) * UNITS[match[2]]) <= LONGEST:
            self.fail("a time is a number and m, h, d or w: 30m, 12h, 90d, 52w", param, ctx)
        return float(seconds)


file_option: Final = click.option(
    "--auth-file",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="RELAY_AUTH_FILE",
    required=True,
    show_envvar=True,
    help="The token file.",
)


@click.group(short_help="Say who may use a relay.")
def token() -> None:
    """Say who may use a relay: make tokens, list them, take them back.

    They stand in a file, hashed, which the relay reads again whenever it changes.
    """


@token.command(
    short_help="Make a token and print it.",
    epilog="""\b
Examples:
  relay token new phone --publish 'desk-*' --auth-file auth.toml
  relay token new desk-1 --agent desk-1 --expires 90d --auth-file auth.toml""",
)
@click.argument("name", type=TokenName())
@click.option("--publish", type=Pattern(), multiple=True, help="It may send to these agents; * is any run.")
@click.option("--agent", type=Pattern(), multiple=True, help="It may be these agents.")
@click.option("--admin", is_flag=True, help="It may look at everything, and mend it.")
@click.option("--expires", type=Span(), help="It ends after so long: 30m, 12h, 90d, 52w.")
@file_option
@click.pass_context
def new(
    ctx: click.Context,
    name: str,
    publish: tuple[str, ...],
    agent: tuple[str, ...],
    admin: bool,
    expires: float | None,
    file: Path,
) -> int:
    """Make the token NAME and print its secret, once: only its hash is kept."""
    if not (publish or agent or admin):
        raise click.UsageError("say what it may do: --publish, --agent or --admin")
    secret, now = secrets.token_urlsafe(TOKEN_BYTES), _now(ctx)
    entry = TokenEntry(name, digest_of(secret), publish, agent, admin, created=now)
    if expires is not None:
        entry = replace(entry, expires=now + expires)
    _edit(file, lambda text: with_token(text, entry), create=True)
    click.echo(secret)
    return 0


@token.command("list", short_help="List the tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@file_option
@click.pass_context
def list_tokens(ctx: click.Context, as_json: bool, file: Path) -> int:
    """List the tokens, and what each of them may do."""
    entries = sorted(_read(file, read).values(), key=lambda entry: entry.name)
    if as_json:
        for entry in entries:
            click.echo(json.dumps(_members(entry)))
    elif not entries:
        click.echo("no tokens")
    else:
        for line in _table([HEADINGS, *(_cells(entry, _now(ctx)) for entry in entries)]):
            click.echo(line)
    return 0


@token.command(short_help="Take a token back.")
@click.argument("name", type=TokenName())
@file_option
def revoke(name: str, file: Path) -> int:
    """Take the token NAME back. Sessions that came by it end within a second."""
    _edit(file, lambda text: without_token(text, name), create=False)
    say(f"{name} is revoked")
    return 0


# -- the file


def _edit(file: Path, change: Callable[[str], str], *, create: bool) -> None:
    """Change the file as a whole: whoever reads it sees it before, or after; and only one changes it at a time."""
    # Where a link leads: the link itself would be replaced, and the relay look at another file.
    file = file.resolve()
    with _refusals(file), _alone(file):
        text = file.read_text(encoding="utf-8") if file.exists() or not create else ""
        _replace(file, change(text))


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    # Not the file itself: it is replaced, and a lock on the old one would hold nobody up. The file beside it stays:
    # whoever removed it could take it away from under somebody who waits.
    lock = os.open(file.with_name(file.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(file: Path, text: str) -> None:
    handle, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            if file.exists():
                # The relay may run as somebody else, to whom the file was given.
                found = file.stat()
                os.fchmod(out.fileno(), found.st_mode & 0o777)
                if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(out.fileno(), found.st_uid, found.st_gid)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, file)
    except BaseException:
        os.unlink(beside)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(file: Path, parse: Callable[[str], dict[str, TokenEntry]]) -> dict[str, TokenEntry]:
    with _refusals(file):
        return parse(file.read_text(encoding="utf-8"))


@contextmanager
def _refusals(file: Path) -> Iterator[None]:
    """What cannot be done, in one line."""
    try:
        yield
    except BadTokenFile as error:
        raise click.ClickException(f"{file}: {error}") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file} is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or file}: {error.strerror}") from error


# -- what is printed


def _now(ctx: click.Context) -> float:
    wall: Wall = ctx.meta[WALL]
    return wall()


#: Where the command line puts the wall clock, which nobody else may read.
WALL: Final = "relay.wall"


def _members(entry: TokenEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "publish": entry.publish,
        "agent": entry.agent,
        "admin": entry.admin,
        "created": None if entry.created is None else stamp(entry.created),
        "expires": None if entry.expires is None else stamp(entry.expires),
    }


def _cells(entry: TokenEntry, now: float) -> tuple[str, ...]:
    ended = entry.expires is not None and entry.expires <= now
    created = "-" if entry.created is None else stamp(entry.created)
    expires = "-" if entry.expires is None else "EXPIRED" if ended else stamp(entry.expires)
    scopes = (" ".join(patterns) or "-" for patterns in (entry.publish, entry.agent))
    return (entry.name, *scopes, "yes" if entry.admin else "-", created, expires)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
