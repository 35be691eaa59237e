"""What ``relay plugins`` prints: which plugins there are, which are used, and why one is broken."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from relay import builtin
from relay.config import Config, ConfigError, load
from relay.extensions import (
    IAuthenticatorPlugin,
    IDeliveryListenerPlugin,
    IHttpPlugin,
    IMessageFilterPlugin,
    IMessageStorePlugin,
    IRelayServicePlugin,
    ISessionListenerPlugin,
)
from relay.extensions.loader import Catalogue, Found
from relay.extensions.roster import read
from relay.extensions.settings import NotUsable

KINDS: Final = {
    IAuthenticatorPlugin: "authenticator",
    IMessageStorePlugin: "store",
    IMessageFilterPlugin: "filter",
    ISessionListenerPlugin: "session-listener",
    IDeliveryListenerPlugin: "delivery-listener",
    IHttpPlugin: "http",
    IRelayServicePlugin: "service",
}
HEADINGS: Final = ("NAME", "VERSION", "KIND", "STATE", "WHERE")


def entries(config: Config) -> list[dict[str, Any]]:
    """Every plugin, and what is wrong with those that cannot be used. Raises NotUsable: a folder is not there."""
    catalogue, tables = builtin.catalogue(config.plugin_path), builtin.tables(config)
    return [*_found(catalogue, tables), *_broken(catalogue), *_absent(catalogue, tables)]


def _found(catalogue: Catalogue, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for found in catalogue.found:
        why = _refusal(found, tables.get(found.name))
        state = "broken" if why else "enabled" if found.name in tables else "not enabled"
        kinds = [word for kind, word in KINDS.items() if kind.providedBy(found.plugin)]
        about = {"name": found.name, "version": str(found.plugin.version), "kinds": kinds, "state": state}
        yield {**about, "where": found.where, "description": str(found.plugin.description), "why": why}


def _refusal(found: Found, table: Mapping[str, Any] | None) -> str:
    """What it has against its settings."""
    try:
        if table is not None:
            read(found, table)
    except NotUsable as error:
        return str(error)
    return ""


def _broken(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for each in catalogue.broken:
        yield _unusable(each.module, "broken", each.where, each.why)


def _absent(catalogue: Catalogue, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in tables:
        if catalogue.named(name) is None:
            yield _unusable(name, "missing", "", f"extensions.{name}: no plugin of that name is installed")


def _unusable(name: str, state: str, where: str, why: str) -> dict[str, Any]:
    return {"name": name, "version": "", "kinds": [], "state": state, "where": where, "description": "", "why": why}


def lines(listed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """For people: a table, and under each that cannot be used the reason."""
    rows = [(each["name"], each["version"], ",".join(each["kinds"]), each["state"], each["where"]) for each in listed]
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    for row, why in zip([HEADINGS, *rows], ["", *(each["why"] for each in listed)], strict=True):
        yield "  ".join((cell or "-").ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if why:
            yield f"  {why}"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """``[--json] CONFIG [FOLDER…]``, as the command line calls it; CONFIG "" means none. Its exit code."""
    as_json = arguments[:1] == ["--json"]
    file, *folders = arguments[as_json:]
    try:
        listed = entries(load(file or None, environ, {"plugin_path": folders or None}))
    except (ConfigError, NotUsable) as error:
        sys.stderr.write(f"relay: {error}\n")
        return 1
    for line in map(json.dumps, listed) if as_json else lines(listed):
        sys.stdout.write(line + "\n")
    return 1 if any(each["why"] for each in listed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
