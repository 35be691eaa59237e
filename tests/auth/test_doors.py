"""Where the bounds of the doors and the tokens meet: preflights carry none, and a rate may be a publisher's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.auth.support import Guarded

APP = "https://app.example"


def test_a_browser_that_asks_before_it_sends_needs_no_token(tmp_path: Path) -> None:
    house = Guarded(tmp_path / "tokens.toml")
    house.house.origins = (APP,)
    house.house.__post_init__()
    asked: dict[str, Any] = {"origin": APP, "access_control_request_method": "POST"}
    preflight = house.begin("OPTIONS", "/v1/agents/desk-1/messages", None, **asked).answer("OPTIONS")
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, APP)
    sent = house.begin("POST", "/v1/agents/desk-1/messages", None, b"1", origin=APP).answer("POST")
    assert (sent.status, sent.problem) == (401, "unauthenticated")


def test_each_publisher_has_a_rate_of_its_own(tmp_path: Path) -> None:
    house = Guarded(tmp_path / "tokens.toml", publisher_requests=1.0)
    ci, phone = house.add("ci", publish=["*"]), house.add("phone", publish=["*"])
    posted = [
        house.begin("POST", "/v1/agents/desk-1/messages", token, b"1", prefer="wait=0").answer("POST").status
        for token in (ci, ci, phone)
    ]
    assert posted == [200, 429, 200]
