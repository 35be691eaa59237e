"""``relay token``: what is typed, what is printed, and what stands in the file afterwards."""

from __future__ import annotations

import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relay.client.cli import execute
from relay.client.commands.token import _edit
from relay.core.tokenfile import TokenEntry, digest_of, read, with_token


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "auth.toml"
    monkeypatch.setenv("RELAY_AUTH_FILE", str(path))
    return path


def test_a_new_token_is_printed_alone_and_only_its_hash_is_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["token", "new", "phone", "--publish", "desk-*", "--publish", "x", "--agent", "a", "--admin"]) == 0
    printed = capsys.readouterr()
    secret = printed.out.removesuffix("\n")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) and printed.err == ""
    assert secret not in file.read_text()
    entry = read(file.read_text())["phone"]
    assert (entry.digest, entry.publish, entry.agent, entry.admin) == (digest_of(secret), ("desk-*", "x"), ("a",), True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_may_have_an_end(file: Path) -> None:
    for number, (span, seconds) in enumerate({"30m": 1800, "12h": 43200, "90d": 7776000, "2w": 1209600}.items()):
        assert execute(["token", "new", f"t{number}", "--admin", "--expires", span]) == 0
        entry = read(file.read_text())[f"t{number}"]
        assert entry.expires is not None and entry.created is not None
        assert entry.expires - entry.created == seconds


@pytest.mark.parametrize(
    "arguments",
    [
        ["new", "phone"],
        ["new", "two words", "--admin"],
        ["new", "phone", "--publish", "desk/1"],
        ["new", "phone", "--admin", "--expires", "soon"],
        ["new", "phone", "--admin", "--expires", "0d"],
        ["new", "phone", "--admin", "--expires", "99999999w"],
        ["revoke", "phone"],
        ["list"],
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert execute(["token", *arguments]) in (1, 2)
    printed = capsys.readouterr()
    assert printed.out == "" and "Error: " in printed.err and "Traceback" not in printed.err
    assert not file.exists()


def test_tokens_are_listed_without_anything_secret(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(["token", "new", "phone", "--publish", "desk-*", "--expires", "1d"])
    execute(["token", "new", "boss", "--admin"])
    capsys.readouterr()
    assert execute(["token", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["NAME", "PUBLISH", "AGENT", "ADMIN"],
        ["boss", "-", "-", "yes"],
        ["phone", "desk-*", "-", "-"],
    ]
    assert execute(["token", "list", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in found] == ["boss", "phone"]
    assert not any("sha256" in each for each in found)


def test_a_revoked_token_is_gone_and_the_rest_stays_as_it_was(file: Path) -> None:
    file.write_text("# mine\n")
    execute(["token", "new", "phone", "--admin"])
    before = file.read_text()
    execute(["token", "new", "other", "--admin"])
    assert execute(["token", "revoke", "other"]) == 0
    assert file.read_text().rstrip() == before.rstrip()
    assert execute(["token", "revoke", "other"]) == 1


def test_a_file_that_makes_no_sense_is_left_alone(file: Path) -> None:
    file.write_text("[tokens")
    assert execute(["token", "new", "phone", "--admin"]) == 1
    assert file.read_text() == "[tokens"
    assert [path.name for path in file.parent.iterdir() if path.name != "auth.toml.lock"] == ["auth.toml"]


def test_the_file_keeps_its_mode_and_a_link_to_it_stays_one(file: Path) -> None:
    real = file.with_name("real.toml")
    real.write_text("")
    real.chmod(0o640)
    file.symlink_to(real)
    assert execute(["token", "new", "phone", "--admin"]) == 0
    assert file.is_symlink() and "phone" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_those_who_change_it_at_once_lose_nothing(file: Path) -> None:
    def add(number: int) -> None:
        _edit(file, lambda text: with_token(text, TokenEntry(f"t{number}", digest_of(str(number)))), create=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert len(read(file.read_text())) == 40
    assert sorted(os.listdir(file.parent)) == ["auth.toml", "auth.toml.lock"]
