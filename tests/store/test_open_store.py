"""How a URL names a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from relay.core.model import Put
from relay.core.ports import MessageStore
from relay.store import open_store
from tests.store.support import Wall, record


def store(url: str) -> MessageStore:
    from twisted.internet import reactor

    threads: Any = reactor
    return open_store(url, reactor=threads, clock=Clock(), wall=Wall(), reserve_bytes=0, min_free_bytes=0)


def test_memory_is_not_durable_and_a_file_is() -> None:
    assert not store("memory:").durable
    assert store("sqlite:relay.db").durable


@pytest.mark.parametrize("absolute", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_file_is_named_from_the_root_or_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    named = store(f"sqlite:{tmp_path}/relay.db" if absolute else "sqlite:relay.db")
    monkeypatch.chdir("/")
    await named.open()
    await named.write(Put(record(1)))
    await named.close()
    assert (tmp_path / "relay.db").exists()


def test_nothing_is_touched_before_it_is_opened(tmp_path: Path) -> None:
    store(f"sqlite:{tmp_path}/relay.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url, word",
    [
        ("redis://localhost:6379/0", "not built yet"),
        ("postgres://x", "unknown kind of store"),
        ("relay.db", "unknown kind of store"),
        ("", "unknown kind of store"),
        ("memory", "unknown kind of store"),
        ("memory:x", "nothing may follow"),
        ("sqlite:", "no file is named"),
        ("sqlite", "no file is named"),
        ("sqlite://relay.db", "begins with '//'"),
        ("sqlite:///relay.db", "begins with '//'"),
    ],
)
def test_any_other_url_is_refused_with_what_is_allowed(url: str, word: str) -> None:
    with pytest.raises(ValueError, match="allowed are sqlite:FILE and memory:") as refused:
        store(url)
    assert word in str(refused.value)
    assert repr(url) in str(refused.value)
