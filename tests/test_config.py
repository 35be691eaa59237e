"""Settings: where they come from, which of them wins, and how each mistake is told in one line."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import KINDS, LIMITS, SETTINGS, Config, ConfigError, check_reach, load
from relay.core.limits import MIB, Limits
from relay.kinds import shown

Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(content: str) -> str:
        path = tmp_path / "relay.toml"
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write


def refusal(
    file: str | None = None, environ: dict[str, str] | None = None, options: dict[str, Any] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, environ or {}, options or {})
    words = str(caught.value)
    assert "\n" not in words
    assert len(words) < 800
    return words


def test_nothing_said_gives_the_defaults() -> None:
    config = load(None, {}, {})
    assert config == Config()
    assert config.listen == ("tcp:8080:interface=127.0.0.1",)
    assert (config.store, config.ack_timeout, config.heartbeat, config.on_duplicate) == (
        "sqlite:relay.db",
        5,
        30,
        "reject",
    )
    assert config.limits == Limits()


def test_the_environment_wins_over_the_file_and_options_over_both(written: Written) -> None:
    file = written('ack_timeout = 1\nheartbeat = 11\nstore = "memory:"\n[limits]\npayload = 7\n')
    environ = {"RELAY_ACK_TIMEOUT": "2", "RELAY_HEARTBEAT": "12", "RELAY_LIMITS_PAYLOAD": "2MiB"}
    config = load(file, environ, {"ack_timeout": "3", "heartbeat": None})
    assert (config.ack_timeout, config.heartbeat, config.store) == (3, 12, "memory:")
    assert config.limits.payload == 2 * MIB


def test_the_environment_may_name_the_file_and_the_option_wins(written: Written, tmp_path: Path) -> None:
    file = written("ack_timeout = 1")
    assert load(None, {"RELAY_CONFIG": file}, {}).ack_timeout == 1
    assert load(file, {"RELAY_CONFIG": str(tmp_path / "absent")}, {}).ack_timeout == 1


def test_several_endpoints_stand_between_blanks_in_the_environment() -> None:
    config = load(None, {"RELAY_LISTEN": "unix:/run/relay  tcp:1:interface=127.0.0.1"}, {})
    assert config.listen == ("unix:/run/relay", "tcp:1:interface=127.0.0.1")


def test_a_list_replaces_the_list_of_an_earlier_source(written: Written) -> None:
    file = written('listen = ["unix:/a", "unix:/b"]\nserver_name = ["a.example"]')
    config = load(file, {}, {"listen": ["unix:/c"]})
    assert (config.listen, config.server_name) == (("unix:/c",), ("a.example",))


@pytest.mark.parametrize(
    ("given", "meant"), [(5, 5), ("5", 5), ("3KiB", 3072), ("2 MiB", 2 * MIB), ("1GiB", 1024 * MIB)]
)
def test_a_size_is_a_number_or_has_a_unit(given: object, meant: int) -> None:
    assert load(None, {}, {"store_reserve": given}).store_reserve == meant


def test_an_empty_variable_says_nothing() -> None:
    assert load(None, {"RELAY_STORE": "", "RELAY_AUTH_FILE": "", "RELAY_CONFIG": ""}, {}) == Config()


def test_variables_of_others_are_left_alone() -> None:
    others = {
        "RELAY_URL": "http://127.0.0.1:8080",
        "RELAY_SERVICE_HOST": "10.0.0.1",
        "RELAY_SERVICE_PORT": "80",
        "RELAY_PORT": "tcp://10.0.0.1:80",
        "RELAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "RELAYED": "1",
    }
    assert load(None, others, {}) == Config()


@pytest.mark.parametrize("key", [key for key in KINDS if key not in ("node", "callback_secret")])
@pytest.mark.parametrize("bad", [{"a": 1}, [1, 2], [["x"]], "\x00 \n"])
def test_a_bad_value_names_key_origin_value_and_what_is_allowed(key: str, bad: object) -> None:
    words = refusal(options={key: bad})
    assert words.startswith(f"{key} (as --")
    assert repr(bad) in words
    assert KINDS[key].allowed in words


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("ack_timeout", "soon"),
        ("ack_timeout", -1),
        ("ack_timeout", True),
        ("ack_timeout", "nan"),
        ("ack_timeout", float("inf")),
        ("heartbeat", 0),
        ("on_duplicate", "ignore"),
        ("store", ""),
        ("store", 5),
        ("store_reserve", "8MB"),
        ("store_reserve", 1.5),
        ("store_reserve", "-1"),
        ("listen", []),
        ("listen", ["tcp:1 tcp:2"]),
        ("server_name", ["relay.example.org:80"]),
        ("server_name", ["http://relay.example.org"]),
        ("origin", ["https://example.org/page"]),
        ("origin", ["*"]),
        ("node", "a b"),
        ("insecure_open", "perhaps"),
        ("overflow", "drop-newest"),
        ("pass_header", ["X-Request-Id: 5"]),
        ("callback_host", ["https://hooks.example.org"]),
        ("callback_host", ["Hooks.example.org"]),
        ("callback_secret", ["hunter2"]),
        ("callback_secret", ["whsec_c2hvcnQ="]),
        ("callback_secret", "whsec_ů"),
        ("limits.payload", 0),
        ("limits.payload", "1" * 5000),
        ("limits.registrations", 0),
        ("limits.errors", 2.5),
    ],
)
def test_a_value_out_of_bounds_is_refused(key: str, bad: object) -> None:
    assert refusal(options={key: bad}).startswith(f"{key} (as --")


@pytest.mark.parametrize(
    ("file", "environ", "options", "origin"),
    [
        ("heartbeat = 'x'", {}, {}, "relay.toml"),
        ("", {"RELAY_HEARTBEAT": "x"}, {}, "in the environment as RELAY_HEARTBEAT"),
        ("", {}, {"heartbeat": "x"}, "as --heartbeat"),
    ],
)
def test_an_error_says_where_the_value_came_from(
    written: Written, file: str, environ: dict[str, str], options: dict[str, Any], origin: str
) -> None:
    assert origin in refusal(written(file), environ, options)


def test_a_bad_value_that_a_later_source_replaces_is_still_an_error(written: Written) -> None:
    assert "relay.toml" in refusal(written("heartbeat = 'x'"), {}, {"heartbeat": 5})


@pytest.mark.parametrize(
    ("content", "near"),
    [
        ("ack-timeout = 5", "did you mean ack_timeout?"),
        ("[limits]\npaylod = 5", "did you mean limits.payload?"),
        ("payload = 5", "did you mean limits.payload?"),
        ("limits = 5", "there is no such setting"),
        ("[colours]\nred = 1", "known: listen, store"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(written: Written, content: str, near: str) -> None:
    assert near in refusal(written(content))


def test_an_unknown_variable_is_an_error_too() -> None:
    assert "did you mean listen?" in refusal(environ={"RELAY_LISTN": "unix:/a"})
    assert "RELAY_LIMITS_SPEED" in refusal(environ={"RELAY_LIMITS_SPEED": "5"})


def test_a_file_that_cannot_be_read_is_told_in_a_line(written: Written, tmp_path: Path) -> None:
    assert "No such file" in refusal(str(tmp_path / "absent.toml"))
    assert "Is a directory" in refusal(str(tmp_path))
    assert "is not TOML" in refusal(written("a = = b"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"store = '\xff'")
    assert "is not UTF-8 at byte 9" in refusal(str(binary))


def test_with_authentication_others_may_reach_the_relay() -> None:
    listen = ("tcp:80:interface=0.0.0.0",)
    assert load(None, {}, {"listen": listen, "auth_file": "who.toml"}).listen == listen
    assert "--auth-file or --insecure-open lifts this" in refusal(options={"listen": listen})


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("ack_timeout", "limits.wait_max"),
        ("limits.default_in_flight", "limits.max_in_flight"),
        ("limits.ack_wait", "limits.ack_wait_max"),
        ("limits.session_buffer", "limits.total_buffer"),
        ("limits.ttl", "limits.ttl_max"),
    ],
)
def test_a_default_above_its_own_limit_is_refused(low: str, high: str) -> None:
    assert f"at most {high}, which is 20" in refusal(options={low: 21, high: 20})
    load(None, {}, {low: 20, high: 20})


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:8080",
        "tcp:8080:interface=0.0.0.0",
        "tcp:8080:interface=",
        "tcp:8080:192.0.2.1",
        "tcp6:8080",
        r"tcp6:8080:interface=\:\:",
        "ssl:8443:privateKey=key.pem",
        r"haproxy:tcp\:8080\:interface=127.0.0.1",
        "onion:80",
        ":",
    ],
)
def test_without_authentication_nobody_else_may_reach_the_relay(endpoint: str) -> None:
    words = refusal(options={"listen": ["unix:/run/relay", endpoint]})
    assert endpoint in words
    assert "--insecure-open" in words
    assert load(None, {}, {"listen": [endpoint], "insecure_open": True}).listen == (endpoint,)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:8080:interface=127.0.0.1",
        "tcp:8080:127.0.0.1:50",
        "tcp:8080:interface=127.9.9.9:backlog=5",
        r"tcp6:8080:interface=\:\:1",
        "ssl:8443:privateKey=key.pem:interface=127.0.0.1",
        "unix:/run/relay.sock",
        "systemd:domain=INET:name=relay",
        "tcp:8080:interface=localhost",
    ],
)
def test_this_machine_may_and_what_only_the_socket_can_tell_is_judged_there(endpoint: str) -> None:
    assert load(None, {}, {"listen": endpoint}).listen == (endpoint,)


def test_every_setting_can_be_set_and_every_limit_has_a_setting() -> None:
    assert {each.name for each in fields(Config)} - {"limits", "extensions"} == set(SETTINGS)
    assert {f"limits.{each.name}" for each in fields(Limits)} == set(LIMITS)


def test_every_default_is_itself_allowed() -> None:
    defaults = Config()
    for each in fields(Config):
        if each.name not in ("limits", "node", "extensions"):
            value = getattr(defaults, each.name)
            assert SETTINGS[each.name].parse(value) == value
    for each in fields(Limits):
        value = getattr(defaults.limits, each.name)
        assert LIMITS[f"limits.{each.name}"].parse(value) == value


SECRET, OTHER = (bytes([byte]) * 24 for byte in (1, 2))


def whsec(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


def test_secrets_stand_in_the_settings_or_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{whsec(OTHER)}\n\n")
    both = {"callback_secret": [whsec(SECRET)], "callback_secret_file": str(file), "callback_host": ["a.example"]}
    assert load(None, {}, both).callback_secret == (SECRET, OTHER)
    assert load(None, {"RELAY_CALLBACK_SECRET": f"{whsec(SECRET)} {whsec(OTHER)}"}, {}).callback_secret == (
        SECRET,
        OTHER,
    )


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    assert "hunter2" not in refusal(options={"callback_secret": ["hunter2"]})
    file = tmp_path / "secrets"
    file.write_text("hunter2")
    words = refusal(options={"callback_secret_file": str(file)})
    assert "hunter2" not in words
    assert str(file) in words
    config = load(None, {}, {"callback_secret": [whsec(SECRET)]})
    assert repr(SECRET)[2:-1] not in repr(config)


def test_a_file_of_secrets_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert "cannot read" in refusal(options={"callback_secret_file": str(tmp_path / "absent")})
    (tmp_path / "odd").write_bytes(b"\xff")
    assert "not ASCII" in refusal(options={"callback_secret_file": str(tmp_path / "odd")})


def test_callbacks_are_signed_or_there_are_none() -> None:
    assert "only with a callback_secret" in refusal(options={"callback_host": ["hooks.example.org"]})


EXAMPLE = Path(__file__).parent.parent / "deploy" / "relay.toml"


def test_the_example_configuration_names_every_key_with_its_default(tmp_path: Path) -> None:
    """Each stands there as a comment, ``# key = value``, so that the file changes nothing until it is edited."""
    assert load(str(EXAMPLE), {}, {}) == Config()
    spelled_out = re.sub(r"(?m)^# (?=[a-z_]+ = )", "", EXAMPLE.read_text(encoding="utf-8"))
    named = tmp_path / "relay.toml"
    named.write_text(re.sub(r"(?m)^(auth_file|node) = .*$", "", spelled_out), encoding="utf-8")
    assert load(str(named), {}, {}) == Config()
    head, _, limits = spelled_out.partition("[limits]")
    assert set(re.findall(r"(?m)^([a-z_]+) = ", head)) == set(SETTINGS)
    assert {f"limits.{name}" for name in re.findall(r"(?m)^([a-z_]+) = ", limits)} == set(LIMITS)


# -- plugins


def extended(tmp_path: Path, text: str, **environ: str) -> dict[str, dict[str, Any]]:
    file = tmp_path / "relay.toml"
    file.write_text(text, encoding="utf-8")
    return load(str(file), environ, {}).extensions


def test_the_tables_of_plugins_keep_their_order_and_their_values(tmp_path: Path) -> None:
    tables = extended(
        tmp_path, "[extensions.zeta]\n[extensions.alpha]\nlist = [1, 2]\n[extensions.alpha.inner]\nx = 1\n"
    )
    assert list(tables.items()) == [("zeta", {}), ("alpha", {"list": [1, 2], "inner": {"x": 1}})]


def test_the_environment_sets_keys_of_plugins_and_wins(tmp_path: Path) -> None:
    tables = extended(
        tmp_path,
        "[extensions.my-filter]\nword = 'a'\n[extensions.my]\n",
        RELAY_EXTENSIONS_MY_FILTER_WORD="b",
        RELAY_EXTENSIONS_MY_URL="c",
        RELAY_EXTENSIONS_HOOK_URL="https://example.org/",
        RELAY_EXTENSIONS_HOOK_TOKEN="",
    )
    assert tables == {"my-filter": {"word": "b"}, "my": {"url": "c"}, "hook": {"url": "https://example.org/"}}


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("extensions = 5", {}, "extensions (in "),
        ("[extensions]\nredact = true", {}, "extensions.redact (in "),
        ("[extensions.Redact]", {}, "extensions.Redact (in "),
        ("", {"RELAY_EXTENSIONS_REDACT": "x"}, "RELAY_EXTENSIONS_REDACT (in the environment)"),
    ],
)
def test_what_is_no_table_of_a_plugin_is_refused(tmp_path: Path, text: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        extended(tmp_path, text, **environ)
    assert str(refused.value).startswith(said)


def test_who_may_be_reached_by_strangers_is_judged_later_when_a_plugin_may_ask_who_they_are(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('listen = ["tcp:8080"]\n[extensions.ldap]\n', encoding="utf-8")
    config = load(str(file), {}, {})
    check_reach(config, authenticates=True)
    with pytest.raises(ConfigError, match="tcp:8080"):
        check_reach(config, authenticates=False)


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.one_of(st.text(), st.floats(), st.integers(), st.booleans())))
def test_whatever_is_given_the_answer_is_a_config_or_one_line(options: dict[str, Any]) -> None:
    try:
        config = load(None, {}, options)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert config.ack_timeout <= config.limits.wait_max


@pytest.mark.parametrize(
    "url, told",
    [
        ("sqlite:relay.db", "sqlite:relay.db"),
        ("postgresql://ann@host:5432/db?sslmode=require", "postgresql://ann@host:5432/db?sslmode=require"),
        ("postgresql://ann:se:c/r@t@host:5432/db", "postgresql://ann:***@host:5432/db"),
        ("postgresql://:secret@/db", "postgresql://:***@/db"),
        ("postgresql://host/db?password=secret&user=ann", "postgresql://host/db?password=***&user=ann"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, told: str) -> None:
    assert shown(url) == told
