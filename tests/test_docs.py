"""The documents name what is there: every setting, every file, every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.config import KINDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def words_in_code(text: str) -> set[str]:
    """What stands between backticks, in a line."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_setting_is_explained_where_operators_look() -> None:
    known = {key.removeprefix("limits.") for key in KINDS}
    assert not known - words_in_code(text_of("operate.md"))


def test_every_file_of_the_map_is_there() -> None:
    named = {word for word in words_in_code(text_of("index.md")) if re.fullmatch(r"[\w./-]+(\.\w+|/)", word)}
    assert len(named) > 40
    assert not [name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "relay"))]


def test_every_room_is_on_the_map() -> None:
    rooms = {f"relay/{path.name}/" for path in (ROOT / "relay").iterdir() if (path / "__init__.py").exists()}
    assert not rooms - words_in_code(text_of("index.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
