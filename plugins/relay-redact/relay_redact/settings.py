"""The table ``[extensions.redact]``, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from relay.core.access import is_pattern, matches
from relay.extensions import Settings, SettingsError
from relay.kinds import Kind, choice, flag, several, text
from relay_redact.patterns import READY, BadPattern, Find, pattern

MOST_RULES: Final = 40

INGEST, BEFORE_SEND = "ingest", "before_send"
REPLACE, REFUSE = "replace", "refuse"


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern, and what is done where it is found."""

    name: str
    find: Find
    agents: tuple[str, ...] = ("*",)  #: patterns of the agents whose messages are looked at
    at: str = INGEST
    refuses: bool = False
    instead: bytes = b""

    def means(self, agent: str) -> bool:
        """Does it concern messages for that agent?"""
        return any(matches(each, agent) for each in self.agents)


NAME: Final = text(r"[a-z][a-z0-9_]{0,31}", "a name: a-z, 0-9 and _, 32 characters at most, a letter first")
AGENTS: Final = several(Kind(lambda value: _agent_pattern(value), ""), "patterns of agent ids, such as desk-*", least=1)
#: ASCII alone: it must fit text of any charset.
INSTEAD: Final = text(r"[ -~]{0,100}", "100 visible ASCII characters at most")
READY_NAMES: Final = choice(*READY)
SHORT: Final = several(READY_NAMES, f"a list of {', '.join(READY)}", least=1)


def _agent_pattern(value: Any) -> str:
    if not isinstance(value, str) or not is_pattern(value):
        raise ValueError
    return value


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_RULES or not all(isinstance(x, dict) for x in value):
        raise ValueError
    return value


RULES: Final = Kind(_tables, f"tables [[extensions.redact.rules]], {MOST_RULES} at most")


def read(table: dict[str, Any]) -> tuple[Rule, ...]:
    """The rules in their order: those of ``rules``, then those of ``ready``. Raises SettingsError."""
    settings = Settings(table)
    tables = settings.take("rules", RULES, [])
    short = settings.take("ready", SHORT, ())
    settings.done()
    rules = [_rule(number, each) for number, each in enumerate(tables)]
    rules += [Rule(name, READY[name], instead=_instead(name)) for name in dict.fromkeys(short)]
    if not rules:
        raise SettingsError("ready", None, f"{SHORT.allowed}; or {RULES.allowed}")
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError("rules", name, "rules of which each has another name (those of ready have theirs)")
    return tuple(rules)


def _rule(number: int, table: Mapping[str, Any]) -> Rule:
    try:
        return _read_rule(Settings(table), table)
    except SettingsError as error:
        raise SettingsError(f"rules.{number}.{error.key}", error.value, error.allowed) from None


def _read_rule(settings: Settings, table: Mapping[str, Any]) -> Rule:
    ready = settings.take("ready", READY_NAMES, None)
    name = settings.take("name", NAME, ready) if ready else settings.take("name", NAME)
    own = settings.take("pattern", Kind(_string, "a regular expression"), None)
    ignore_case = settings.take("ignore_case", flag(), False)
    agents = settings.take("agents", AGENTS, ("*",))
    at = settings.take("at", choice(INGEST, BEFORE_SEND), INGEST)
    action = settings.take("action", choice(REPLACE, REFUSE), REPLACE)
    instead = settings.take("with", INSTEAD, None)
    settings.done()
    if (own is None) == (ready is None):
        raise SettingsError("pattern", own, f"either a pattern, or ready, one of {', '.join(READY)}")
    if ready and "ignore_case" in table:
        raise SettingsError("ignore_case", ignore_case, "only with a pattern of your own")
    if action == REFUSE and instead is not None:
        raise SettingsError("with", instead, "only where action is replace")
    try:
        find = READY[ready] if ready else pattern(own, ignore_case=ignore_case)
    except BadPattern as error:
        raise SettingsError("pattern", own, str(error)) from None
    replacement = _instead(name) if instead is None else instead.encode("ascii")
    return Rule(name, find, agents, at, action == REFUSE, replacement)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _instead(name: str) -> bytes:
    return f"[{name}]".encode("ascii")
