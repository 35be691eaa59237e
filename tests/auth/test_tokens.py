"""The token file: what it says, how it is changed, and when it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from relay.auth.audit import AuditLog
from relay.auth.tokens import TokenFile
from relay.core.access import matches
from relay.core.tokenfile import BadTokenFile, TokenEntry, digest_of, read, with_token, without_token
from tests.auth.support import Notes

NOW = 1_800_000_000.0
DIGEST = digest_of("secret")
EXAMPLE = f"""# ours
[tokens.phone]  # of Ann
sha256 = "{DIGEST}"
publish = ["desk-*"]
expires = 2027-01-16T00:00:00Z

# the desks
[tokens."desk@home"]
sha256 = "{digest_of("desk")}"
agent = ["desk-1", "desk-2"]
"""


def entry(name: str, **fields: object) -> TokenEntry:
    return TokenEntry(name, digest_of(name), **fields)  # type: ignore[arg-type]  # its fields


def test_a_file_says_who_may_do_what() -> None:
    entries = read(EXAMPLE)
    assert entries["phone"] == TokenEntry("phone", DIGEST, publish=("desk-*",), expires=1_800_057_600.0)
    assert entries["desk@home"].agent == ("desk-1", "desk-2")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tokens = 1", "tables"),
        ("[token.phone]", "tables"),
        ("[tokens.phone]", "sha256"),
        ("[tokens]\nphone = 1", "known"),
        ("[tokens.phone", "not TOML"),
        ("a = " + "[" * 100_000, "nested"),
        ("a = " + "9" * 5000, "not TOML"),
        (f'[tokens."two words"]\nsha256 = "{DIGEST}"', "name"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\npublished = []', "published"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\npublish = "desk-*"', "list"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\npublish = ["desk/1"]', "patterns"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\nagent = [""]', "patterns"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\nadmin = 1', "admin"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\nexpires = "soon"', "time"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\nexpires = 2027-01-01T00:00:00', "time"),
        (f'[tokens.a]\nsha256 = "{DIGEST}"\n[tokens.b]\nsha256 = "{DIGEST}"', "same"),
        (f'[tokens.a]\nsha256 = "{DIGEST[:-1]}"', "sha256"),
    ],
)
def test_a_file_that_makes_no_sense_says_what_is_wrong_with_it(text: str, why: str) -> None:
    with pytest.raises(BadTokenFile, match=why) as refused:
        read(text)
    assert "\n" not in str(refused.value)


def test_a_token_is_put_at_the_end_and_taken_out_again_without_a_trace() -> None:
    grown = with_token(EXAMPLE, entry("ci", publish=("*",), agent=("a", "b"), admin=True, created=NOW, expires=NOW + 1))
    assert grown.startswith(EXAMPLE)
    assert read(grown)["ci"] == entry("ci", publish=("*",), agent=("a", "b"), admin=True, created=NOW, expires=NOW + 1)
    assert read(without_token(grown, "ci")) == read(EXAMPLE)


def test_comments_stay_when_a_token_is_taken_out() -> None:
    left = without_token(EXAMPLE, "phone")
    assert "# ours" in left and "# the desks" in left
    assert set(read(left)) == {"desk@home"}


def test_the_last_token_may_be_taken_out() -> None:
    assert read(without_token(with_token("", entry("a")), "a")) == {}


def test_a_token_that_is_not_a_table_of_its_own_is_not_taken_out_by_guessing() -> None:
    with pytest.raises(BadTokenFile, match="by hand"):
        without_token(f'tokens.a.sha256 = "{DIGEST}"\n', "a")


def test_no_two_tokens_have_one_name_and_no_unknown_one_is_revoked() -> None:
    with pytest.raises(BadTokenFile, match="already"):
        with_token(EXAMPLE, entry("phone"))
    with pytest.raises(BadTokenFile, match="there are: desk@home, phone"):
        without_token(EXAMPLE, "fone")


@given(st.lists(st.sampled_from(["a", "b", "c.d", "e@f", "g-h", "i"]), unique=True), st.data())
def test_tokens_come_and_go_in_any_order(names: list[str], data: st.DataObject) -> None:
    text = EXAMPLE
    for name in names:
        text = with_token(text, entry(name, agent=(name,)))
    order = data.draw(st.permutations(names))
    for name in order:
        text = without_token(text, name)
    assert read(text) == read(EXAMPLE)


# -- patterns


@pytest.mark.parametrize(
    ("pattern", "agent", "meant"),
    [
        ("desk-1", "desk-1", True),
        ("desk-1", "desk-10", False),
        ("desk-*", "desk-", True),
        ("desk-*", "desk", False),
        ("desk-*", "Desk-1", False),
        ("*-1", "desk-1", True),
        ("d*k-*", "desk-1", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*", "anything", True),
        ("a*b*c", "abbc", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("a.c", "abc", False),
        ("**", "x", True),
    ],
)
def test_a_star_stands_for_any_run_of_characters(pattern: str, agent: str, meant: bool) -> None:
    assert matches(pattern, agent) == meant


def test_many_stars_take_no_time() -> None:
    assert not matches("*a" * 64, "a" * 60 + "b" * 68)


# -- the file on the disk


class Wall:
    now = NOW

    def __call__(self) -> float:
        return self.now


def file(tmp_path: Path, text: str = EXAMPLE) -> tuple[TokenFile, Path, Notes]:
    path, notes = tmp_path / "auth.toml", Notes()
    path.write_text(text)
    return TokenFile(str(path), wall=Wall(), audit=notes), path, notes


def rewrite(path: Path, text: str) -> None:
    """As a careful program does it: beside, and then in its place."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


def test_a_relay_does_not_start_without_its_tokens(tmp_path: Path) -> None:
    with pytest.raises(BadTokenFile, match=r"auth_file: cannot read .*: No such file"):
        TokenFile(str(tmp_path / "none.toml"), wall=Wall(), audit=Notes())
    for text in (b"[tokens", b"\xff"):
        (tmp_path / "auth.toml").write_bytes(text)
        with pytest.raises(BadTokenFile, match=r"auth_file: .*auth\.toml"):
            TokenFile(str(tmp_path / "auth.toml"), wall=Wall(), audit=Notes())


def test_a_change_is_seen_when_the_file_is_quiet(tmp_path: Path) -> None:
    tokens, path, notes = file(tmp_path)
    changes: list[None] = []
    tokens.on_change(lambda: changes.append(None))
    grant = tokens.known("secret")
    assert grant is not None
    rewrite(path, without_token(EXAMPLE, "phone"))
    tokens.look()
    assert tokens.known("secret") is grant, "somebody may be writing still"
    tokens.look()
    assert tokens.known("secret") is None and tokens.still(grant) is None and len(changes) == 1
    tokens.look()
    assert len(changes) == 1
    assert notes.lines == [("token-revoked", {"name": "phone"})]


def test_a_broken_or_lost_file_changes_nothing(tmp_path: Path) -> None:
    tokens, path, _ = file(tmp_path)
    for break_it in (lambda: rewrite(path, "[tokens"), path.unlink):
        break_it()
        tokens.look()
        tokens.look()
        tokens.reload()
        assert tokens.known("secret") is not None
    rewrite(path, without_token(EXAMPLE, "phone"))
    tokens.look()
    tokens.look()
    assert tokens.known("secret") is None


def test_a_token_with_other_scopes_has_another_grant(tmp_path: Path) -> None:
    tokens, path, notes = file(tmp_path)
    grant = tokens.known("secret")
    assert grant is not None
    rewrite(path, EXAMPLE.replace('["desk-*"]', '["phone-*"]'))
    tokens.reload()
    now = tokens.still(grant)
    assert now is not None and now.publish == ("phone-*",)
    assert notes.lines == [("token-changed", {"name": "phone"})]


def test_a_token_ends_when_it_expires(tmp_path: Path) -> None:
    path, wall = tmp_path / "auth.toml", Wall()
    path.write_text(EXAMPLE)
    tokens = TokenFile(str(path), wall=wall, audit=Notes())
    wall.now = 1_800_057_599.0
    assert tokens.known("secret") is not None
    wall.now += 1
    assert tokens.known("secret") is None


def test_nobody_writes_a_member_of_the_audit_log_by_what_he_is_called() -> None:
    with capturedLogs() as events:
        AuditLog(200).note("session-began", by="desk", agent="desk-1", client="x by=boss peer=1", peer="[::1]:5000")
        AuditLog(200).note("session-began", by="desk", client='it\'s "quoted"=\\')
    one, two = map(formatEvent, events)
    assert one == "session-began by=desk agent=desk-1 client='x by=boss peer=1' peer=[::1]:5000"
    assert two == "session-began by=desk client='it\\'s \"quoted\"=\\\\'"
    assert events[0]["client"] == "x by=boss peer=1"


def test_a_field_of_the_audit_log_is_one_line_and_bounded() -> None:
    log = AuditLog(10)
    assert log._bounded("a\nb\x1b[31m") == "a?b?[31m"
    assert log._bounded("x" * 11) == "x" * 9 + "…"
    assert log._bounded(7) == 7
