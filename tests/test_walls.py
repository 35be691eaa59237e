"""The walls of the house, read from the source: who may import whom, who touches the world, how large a thing is."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RELAY = ROOT / "relay"
MODULES = sorted(RELAY.rglob("*.py"))

#: a room -> the rooms that it may import, besides itself
ARROWS = {
    "core": set(),
    "store": {"core"},
    "fabric": {"core"},
    "hub": {"core"},
    "auth": {"core"},
    "edge": {"hub", "auth", "core"},
    "outward": {"core"},
    "client": {"core"},
    "extensions": {"core", "kinds"},
    "plugins": set(),
    # the hall: what the staircase stands on
    "kinds": {"core"},
    "endpoints": set(),
    "config": {"core", "kinds", "endpoints"},
    "certificates": {"endpoints"},
    "doorkeeper": {"core"},
    "builtin": {"auth", "store", "core", "config", "extensions", "plugins"},
    "watch": set(),
    "listing": {"builtin", "config", "extensions"},
    "daemon": {"core", "endpoints"},
    "tap": {
        "edge",
        "hub",
        "store",
        "fabric",
        "auth",
        "outward",
        "core",
        "extensions",
        "builtin",
        "certificates",
        "config",
        "daemon",
        "doorkeeper",
        "endpoints",
        "kinds",
        "watch",
    },
}
#: these start a process of their own
STARTERS = {RELAY / "tap.py", RELAY / "client" / "cli.py"}

MODULE_LINES, CLASS_LINES, FUNCTION_LINES, ADAPTER_LINES = 400, 200, 60, 80
ADAPTER = RELAY / "edge" / "websocket.py"


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module, or name of a module, that is imported anywhere in the file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: say where it comes from"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def room_of(module: str) -> str | None:
    """The room of a dotted name of ours; None for the package itself and for others' modules."""
    parts = module.split(".")
    if parts[0] != "relay" or len(parts) < 2 or parts[1].startswith("__"):
        return None
    return parts[1]


def rooms() -> list[str]:
    return sorted({path.relative_to(RELAY).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"})


def offences(found: Iterator[tuple[Path, str]]) -> list[str]:
    return [f"{path.relative_to(ROOT)}: {what}" for path, what in found]


def length(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_every_room_has_its_walls() -> None:
    assert set(rooms()) <= set(ARROWS)


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_where_an_arrow_leads(room: str) -> None:
    allowed = ARROWS[room] | {room}
    own = [path for path in MODULES if path.relative_to(RELAY).parts[0].removesuffix(".py") == room]
    beyond = ((path, name) for path in own for name in imports(path) if room_of(name) not in allowed | {None})
    assert not offences(beyond)


def test_core_knows_the_standard_library_and_msgspec_alone() -> None:
    known = sys.stdlib_module_names | {"msgspec", "relay"}
    core = [path for path in MODULES if path.is_relative_to(RELAY / "core")]
    assert core
    assert not offences((path, name) for path in core for name in imports(path) if name.split(".")[0] not in known)


def test_core_does_nothing_to_the_world() -> None:
    worldly = {"time", "socket", "threading", "subprocess", "asyncio", "random", "os", "pathlib", "io", "tempfile"}
    core = [path for path in MODULES if path.is_relative_to(RELAY / "core")]
    assert not offences((path, name) for path in core for name in imports(path) if name.split(".")[0] in worldly)


def test_the_hub_and_the_doors_know_no_concrete_store() -> None:
    inner = [path for path in MODULES if path.is_relative_to(RELAY / "hub") or path.is_relative_to(RELAY / "edge")]
    assert not offences(
        (path, name) for path in inner for name in imports(path) if room_of(name) in {"store", "fabric"}
    )


def test_only_a_starter_imports_the_reactor() -> None:
    others = [path for path in MODULES if path not in STARTERS]
    assert not offences(
        (path, name) for path in others for name in imports(path) if name.startswith("twisted.internet.reactor")
    )


def wall_clocks(path: Path) -> Iterator[str]:
    """Every way by which the file could read the time of day."""
    for name in imports(path):
        if name in {"time.time", "time.time_ns", "time.localtime", "time.gmtime"}:
            yield name
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Attribute):
            continue
        name = ast.unparse(node)
        if re.fullmatch(
            r"time\.(time|time_ns|localtime|gmtime)|(datetime\.)?(datetime|date)\.(now|utcnow|today)", name
        ):
            yield f"line {node.lineno}: {name}"


def test_only_a_starter_reads_the_wall_clock() -> None:
    others = [path for path in MODULES if path not in STARTERS]
    assert not offences((path, name) for path in others for name in wall_clocks(path))


def test_the_plugin_of_twistd_imports_nothing_of_ours() -> None:
    plugin = ROOT / "twisted" / "plugins" / "relay_plugin.py"
    assert all(room_of(name) is None and not name.startswith("relay") for name in imports(plugin))
    assert not list((ROOT / "twisted").rglob("__init__.py"))


def test_no_module_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not offences((path, f"{n} lines") for path, n in lengths.items() if n > MODULE_LINES)


def test_no_class_is_too_long() -> None:
    classes = [(path, node) for path in MODULES for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]
    bound = {ADAPTER: ADAPTER_LINES}
    assert not offences(
        (path, f"{node.name} has {length(node)} lines")
        for path, node in classes
        if length(node) > bound.get(path, CLASS_LINES)
    )


def test_no_function_is_too_long() -> None:
    functions = (
        (path, node)
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert not offences(
        (path, f"{node.name} has {length(node)} lines") for path, node in functions if length(node) > FUNCTION_LINES
    )


SUPPRESSION = re.compile(r"#\s*(type:\s*ignore|noqa)\b(\S*)(?P<reason>.*)")
#: spelled so that this file does not accuse itself
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def lines_of_the_house() -> Iterator[tuple[Path, int, str]]:
    folders = ("relay", "twisted", "plugins", "tests", "bench", "examples", "docs", "deploy")
    kinds = {".py", ".md", ".sql", ".toml", ".mjs", ".service", ".socket"}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in kinds and path.is_file() and "node_modules" not in path.parts:
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                    yield path, number, line


def test_nothing_is_put_off_in_a_comment() -> None:
    assert not offences(
        (path, f"line {n}: {line}") for path, n, line in lines_of_the_house() if UNFINISHED.search(line)
    )


def test_what_is_silenced_says_why() -> None:
    found = ((path, n, SUPPRESSION.search(line)) for path, n, line in lines_of_the_house() if path.suffix == ".py")
    bare = ((path, f"line {n}") for path, n, match in found if match and len(match["reason"].strip(" #:-")) < 5)
    assert not offences((path, what) for path, what in bare if path.name != Path(__file__).name)
