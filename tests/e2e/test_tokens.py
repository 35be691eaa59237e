"""A relay that asks who one is: the token file by its command, SIGHUP, and keys from a URL."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.e2e.door import request
from tests.e2e.support import Daemon, clean_environment, python_script
from tests.e2e.wire import Wire

pytestmark = pytest.mark.e2e
Starter = Callable[..., Daemon]
Opener = Callable[..., Wire]


def token(folder: Path, *arguments: str) -> str:
    """``relay token …`` in that folder; what it prints."""
    command = [python_script("relay"), "token", *arguments]
    environment = clean_environment({"RELAY_AUTH_FILE": "auth.toml"})
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def status(relay: Daemon, secret: str | None, agent: str = "desk-1") -> int:
    headers = {"content-type": "application/json", "prefer": "wait=0"}
    if secret is not None:
        headers["authorization"] = f"Bearer {secret}"
    return request(relay.port, "POST", f"/v1/agents/{agent}/messages", b"1", headers).status


def test_a_token_is_made_used_and_taken_back(start: Starter, open_wire: Opener, tmp_path: Path) -> None:
    phone = token(tmp_path, "new", "phone", "--publish", "desk-*")
    desk = token(tmp_path, "new", "desk", "--agent", "desk-1")
    relay = start("--auth-file", "auth.toml")
    assert (status(relay, None), status(relay, "wrong")) == (401, 401)
    assert (status(relay, phone), status(relay, phone, "kitchen"), status(relay, desk)) == (200, 403, 403)
    wire = open_wire(relay)
    wire.register("desk-1", token=desk)
    token(tmp_path, "revoke", "desk")
    ended = wire.ended()
    assert (ended.code, ended.reason) == (4003, "revoked")
    relay.output.wait_for("token-revoked name=desk", 10)
    assert status(relay, phone) == 200
    assert relay.terminate() == 0
    log = relay.output.text()
    assert phone not in log and desk not in log


def test_sighup_reads_the_file_again_and_a_broken_one_changes_nothing(start: Starter, tmp_path: Path) -> None:
    phone = token(tmp_path, "new", "phone", "--publish", "*")
    relay = start("--auth-file", "auth.toml")
    whole = (tmp_path / "auth.toml").read_text()
    (tmp_path / "auth.toml").write_text("[tokens")
    relay.signal(signal.SIGHUP)
    relay.output.wait_for("the tokens read before stay", 10)
    assert status(relay, phone) == 200
    (tmp_path / "auth.toml").write_text(whole.replace('publish = ["*"]', ""))
    relay.signal(signal.SIGHUP)
    relay.output.wait_for("token-changed", 10)
    assert status(relay, phone) == 403
    assert relay.terminate() == 0


@contextmanager
def keys_at(data: bytes) -> Iterator[str]:
    """A set of keys at a URL of this machine."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tokens_signed_by_a_key_of_a_set_at_a_url_are_good(start: Starter) -> None:
    key = RSAKey.generate_key(2048)
    claims = {"sub": "phone", "aud": "relay", "exp": int(time.time()) + 600, "scope": "relay:publish:desk-*"}
    good = jwt.encode({"alg": "RS256", "kid": "k"}, claims, key)
    forged = jwt.encode({"alg": "RS256", "kid": "k"}, claims, RSAKey.generate_key(2048))
    with keys_at(json.dumps({"keys": [{**key.as_dict(private=False), "kid": "k"}]}).encode()) as url:
        relay = start("--jwt-jwks", url, "--jwt-audience", "relay")
        assert (status(relay, good), status(relay, good, "kitchen"), status(relay, forged)) == (200, 403, 401)
        assert relay.terminate() == 0


def test_a_set_of_keys_that_cannot_be_reached_is_no_refusal(start: Starter) -> None:
    key = RSAKey.generate_key(2048)
    signed = jwt.encode({"alg": "RS256"}, {"sub": "phone", "exp": int(time.time()) + 600}, key)
    with keys_at(b"{}") as url:
        relay = start("--jwt-jwks", url)
        answer = request(relay.port, "GET", "/v1/agents", headers={"authorization": f"Bearer {signed}"})
        assert (answer.status, answer.problem) == (503, "overloaded")
        assert relay.terminate() == 0


@pytest.mark.parametrize(
    ("option", "content", "why"),
    [
        ("--auth-file", "[tokens.x]", "auth_file"),
        ("--jwt-secret-file", "short", "jwt_secret_file: keys: a secret must have at least 32 bytes"),
        ("--jwt-key-file", "no key", "jwt_key_file: keys: it must be one public key in PEM"),
        ("--jwt-jwks", "{}", "jwt_jwks: keys: it must be a set of keys"),
    ],
)
def test_without_its_tokens_or_keys_a_relay_does_not_start(tmp_path: Path, option: str, content: str, why: str) -> None:
    (tmp_path / "keys").write_text(content)
    relay = Daemon(tmp_path, option, "keys")
    try:
        output = relay.launch()
        assert relay.wait() == 1
        assert why in output.text() and "Traceback" not in output.text()
    finally:
        relay.stop()
