"""The walk of docs/extend.md, done as it stands there: from an empty folder to a plugin that is loaded, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import post
from tests.e2e.support import ROOT, Daemon, clean_environment

PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"(?m)^In `([^`]+)`:\n\n```\w+\n((?:.*\n)*?)```$", PAGE))
COMMANDS = re.findall(r"(?m)^```console\n\$ (.+)\n((?:.*\n)*?)```$", PAGE)
TEMPLATE = ROOT / "plugins" / "template"


def test_the_template_is_what_the_page_shows() -> None:
    shown = {name: text for name, text in FILES.items() if name != "relay.toml"}
    folder = {
        str(path.relative_to(TEMPLATE)): path.read_text(encoding="utf-8")
        for path in TEMPLATE.rglob("*")
        if path.is_file() and path.suffix in (".py", ".cfg", ".toml")
    }
    assert shown == folder


@pytest.mark.e2e
def test_the_walk_ends_at_a_plugin_that_is_tested_loaded_and_used(
    tmp_path: Path, start: Callable[..., Daemon], join: Callable[..., Agent]
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    scripts = str(Path(sys.executable).parent)
    environment = clean_environment({"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"})
    assert len(COMMANDS) == 2
    for command, expected in COMMANDS:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for words in expected.splitlines():
            assert words in done.stdout
    relay = start("--config", "relay.toml", store="memory:")
    with join(relay, "desk-1", acknowledge) as agent:
        assert post(relay.port, "desk-1", b'"hello"').status == 200
        message = agent.next()
        assert message["headers"] == {"x-stamp": "seen"}
    assert post(relay.port, "desk-9", b'"hello"').status == 403
