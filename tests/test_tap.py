"""The options of ``twistd relay`` and what is built from them. That it runs is shown in tests/e2e."""

from __future__ import annotations

import base64
import resource
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.application.service import IService
from twisted.logger import capturedLogs

import relay
from relay.config import Config, load
from relay.daemon import RelayService
from relay.tap import Options, makeService, raise_descriptors

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here touches the checkout, or hears our own environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("RELAY_CONFIG", "RELAY_LISTEN", "RELAY_STORE"):
        monkeypatch.delenv(name, raising=False)


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


def refusal(*arguments: str) -> str:
    """What is said on stderr, in one line, before the process ends with status 1."""
    with pytest.raises(SystemExit) as ended:
        makeService(parsed(*arguments))
    assert isinstance(ended.value.code, str)
    assert ended.value.code.startswith("relay: ")
    assert "\n" not in ended.value.code
    return ended.value.code


def test_what_is_not_given_is_left_to_the_environment_and_the_file() -> None:
    assert load(None, {}, parsed().settings()) == Config()
    assert load(None, {"RELAY_ACK_TIMEOUT": "7", "RELAY_INSECURE_OPEN": "1"}, parsed().settings()) == Config(
        ack_timeout=7, insecure_open=True
    )


def test_every_setting_but_a_secret_can_be_given_as_an_option(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("whsec_" + base64.b64encode(b"s" * 24).decode())
    options = parsed(
        *("--listen", "unix:/a", "--listen", "tcp:80", "--store", "memory:", "--store-min-free", "1MiB"),
        *("--store-reserve", "0", "--ack-timeout", "1.5", "--heartbeat", "7", "--on-duplicate", "replace"),
        *("--server-name", "a.example", "--server-name", "b.example", "--origin", "https://c.example"),
        *("--node", "n1", "--insecure-open", "--overflow", "drop-oldest"),
        *("--pass-header", "X-A", "--pass-header", "X-B"),
        *("--callback-host", "d.example", "--callback-secret-file", str(secrets), "--callback-private"),
        *("--fast-door", "false"),
    )
    assert load(None, {}, options.settings()) == Config(
        listen=("unix:/a", "tcp:80"),
        store="memory:",
        store_min_free=1024 * 1024,
        store_reserve=0,
        ack_timeout=1.5,
        heartbeat=7.0,
        on_duplicate="replace",
        server_name=("a.example", "b.example"),
        origin=("https://c.example",),
        node="n1",
        overflow="drop-oldest",
        pass_header=("X-A", "X-B"),
        callback_host=("d.example",),
        callback_secret=(b"s" * 24,),
        callback_secret_file=str(secrets),
        callback_private=True,
        fast_door=False,
        insecure_open=True,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--wavelength", "5"), "option --wavelength not recognized"),
        (("--store",), "option --store requires argument"),
        (("send",), "it takes no arguments, but was given send"),
        (("--heartbeat", "often"), "heartbeat (as --heartbeat): 'often' is not allowed"),
        (("--config", "absent.toml"), "cannot read absent.toml"),
        (("--store", "floppy:"), "floppy"),
        (("--listen", "tcp:http-alt:interface=127.0.0.1"), "is not an endpoint"),
        (("--listen", "ssl:0:privateKey=absent.pem:interface=127.0.0.1"), "absent.pem"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    assert told in refusal(*arguments)


def test_the_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"relay {relay.__version__}\n"


def test_building_opens_neither_store_nor_port(tmp_path: Path) -> None:
    service = makeService(parsed("--listen", "tcp:1:interface=127.0.0.1"))
    assert isinstance(service, RelayService)
    assert not service.running
    assert [door.text for door in service.doors] == ["tcp:1:interface=127.0.0.1"]
    assert list(tmp_path.iterdir()) == []


def test_the_tac_file_builds_the_same_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_LISTEN", "unix:/a unix:/b")
    application = runpy.run_path(str(ROOT / "relay.tac"))["application"]
    (service,) = IService(application).services  # type: ignore[attr-defined]  # an application is a MultiService
    assert isinstance(service, RelayService)
    assert [door.text for door in service.doors] == ["unix:/a", "unix:/b"]


def test_the_start_says_who_may_connect() -> None:
    with capturedLogs() as logged:
        makeService(parsed("--store", "memory:"))
        makeService(parsed("--store", "memory:", "--insecure-open"))
    said = [event["who"] for event in logged]
    assert said == [f"no authentication: {who} may connect" for who in ("only this machine", "ANYBODY")]


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A soft limit below the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(few_descriptors: int) -> None:
    raise_descriptors()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few_descriptors, few_descriptors)


def test_with_tokens_or_keys_everybody_needs_one_and_others_may_connect(tmp_path: Path) -> None:
    (tmp_path / "auth.toml").write_text("")
    (tmp_path / "secret").write_bytes(b"s" * 32)
    everywhere = ("--store", "memory:", "--listen", "tcp:0")
    for given in (("--auth-file", "auth.toml"), ("--jwt-secret-file", "secret")):
        with capturedLogs() as logged:
            service = makeService(parsed(*everywhere, *given))
        assert [event["who"] for event in logged if "who" in event] == ["everybody needs a token"]
        assert isinstance(service, RelayService) and service.strangers


@pytest.mark.parametrize("option", ["--auth-file", "--jwt-secret-file", "--jwt-key-file", "--jwt-jwks"])
def test_a_file_of_tokens_or_keys_that_is_not_there_is_named(option: str) -> None:
    said = refusal("--store", "memory:", option, "nowhere")
    assert option.removeprefix("--").replace("-", "_") in said and "cannot read nowhere" in said


def test_an_audience_needs_keys() -> None:
    assert "only with keys" in refusal("--jwt-audience", "relay")
