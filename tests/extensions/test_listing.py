"""``relay plugins``: what is there, and why one of them cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relay.client.commands.plugins import command_line
from relay.listing import main
from tests.extensions.test_loader import GOOD


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["--json", *arguments], {})
    return code, {each["name"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}


def test_those_that_came_with_the_relay_are_listed_and_those_in_use_enabled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, plugins = listed(capsys, "")
    assert code == 0
    ours = {name: each for name, each in plugins.items() if each["where"] == "came with the relay"}
    assert {name: (each["kinds"], each["state"]) for name, each in ours.items()} == {
        "jwt": (["authenticator"], "not enabled"),
        "memory": (["store"], "not enabled"),
        "sqlite": (["store"], "enabled"),
        "token-file": (["authenticator"], "not enabled"),
    }


def test_one_in_a_folder_is_listed_with_its_place_and_a_broken_one_with_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, config = tmp_path / "plugins", tmp_path / "relay.toml"
    folder.mkdir()
    (folder / "listed_good.py").write_text(GOOD.format(name="listed-good"), encoding="utf-8")
    (folder / "listed_bad.py").write_text("import nothing_of_that_name", encoding="utf-8")
    config.write_text("[extensions.listed-good]\n[extensions.listed-missing]\n", encoding="utf-8")
    code, plugins = listed(capsys, str(config), str(folder))
    assert code == 1
    good, bad, missing = (plugins[name] for name in ("listed-good", "listed_bad", "listed-missing"))
    assert (good["version"], good["kinds"], good["state"]) == ("1", ["filter"], "enabled")
    assert good["where"] == str(folder / "listed_good.py")
    assert bad["state"] == "broken" and bad["why"].startswith("ModuleNotFoundError")
    assert (missing["state"], missing["why"][:26]) == ("missing", "extensions.listed-missing:")


def test_for_people_it_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([""], {}) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "VERSION", "KIND", "STATE", "WHERE"]
    assert rows[0].split()[0] == "jwt"


def test_settings_that_cannot_be_read_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/not/there.toml"], {}) == 1
    assert capsys.readouterr().err == "relay: config: cannot read /not/there.toml: No such file or directory\n"
    assert main(["", "/not/there"], {}) == 1
    assert capsys.readouterr().err == "relay: plugin_path: /not/there is not a folder\n"


def test_the_command_hands_over_what_it_was_given() -> None:
    assert command_line("a.toml", ("x", "y"), True)[1:] == ["-m", "relay.listing", "--json", "a.toml", "x", "y"]
