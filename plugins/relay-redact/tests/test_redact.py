"""The filter by itself: rules over payloads of each form, as they come in and as they go out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import Limits
from relay.extensions import Form, Message, Problem, SettingsError, Submission
from relay_redact.patterns import Budget, TooMuch, luhn, pattern
from relay_redact.redactor import make_filter
from relay_redact.settings import read

CARD = "4111 1111 1111 1111"
TYPES = {
    Form.TEXT: "text/plain",
    Form.JSON: "application/json",
    Form.LATIN1: "text/plain; charset=iso-8859-1",
    Form.BINARY: "image/png",
}
ALL = {"ready": ["card", "email", "bearer"]}


class Relay:
    """What a filter asks of the relay."""

    def __init__(self, payload: int = 1 << 20) -> None:
        self.limits = Limits(payload=payload)
        self.counts: dict[str, int] = {}

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


def handed_in(payload: bytes, form: Form = Form.TEXT, agent: str = "desk-1") -> Submission:
    return Submission(agent, payload, TYPES[form], form, 5.0)


def going_out(payload: bytes, form: Form = Form.TEXT, agent: str = "desk-1") -> Message:
    return Message("m1", agent, payload, TYPES[form], form, 0.0, 60.0)


def ingested(payload: bytes, table: dict[str, Any], form: Form = Form.TEXT, relay: Relay | None = None) -> bytes:
    """What becomes of a payload."""
    changed = make_filter(read(table), relay or Relay()).ingest(handed_in(payload, form))
    return payload if changed is None else changed.payload


def one(**rule: Any) -> dict[str, Any]:
    return {"rules": [{"name": "own", **rule}]}


def test_what_is_found_is_replaced_and_counted_by_its_rule() -> None:
    relay = Relay()
    text = (
        f"card {CARD}, mail joe@example.org and ann@example.org, Authorization: Bearer abcdefghijklmnop.qrs=".encode()
    )
    assert ingested(text, ALL, relay=relay) == b"card [card], mail [email] and [email], Authorization: [bearer]"
    assert relay.counts == {"replaced_card": 1, "replaced_email": 2, "replaced_bearer": 1}


def test_a_message_in_which_nothing_is_found_is_not_touched() -> None:
    relay = Relay()
    assert make_filter(read(ALL), relay).ingest(handed_in("nothing, für 5 €".encode())) is None
    assert relay.counts == {}


def test_all_but_the_payload_stays() -> None:
    message = Submission("desk-1", b"a@example.org", "text/x", Form.TEXT, 3.0, topic="t", key="k", publisher="p")
    changed = make_filter(read(ALL), Relay()).ingest(message)
    assert (changed.payload, changed.topic, changed.key, changed.publisher) == (b"[email]", "t", "k", "p")


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "378282246310005",
        "3782 822463 10005",
        "6011000990139424",
        "4222222222222",
        "5 4111 1111 1111 1111",  # another number before it
        "4111 1111 1111 1111 12 26 123",  # its date and its code after it
        "id_4111111111111111",
    ],
)
def test_a_card_number_is_found_however_it_is_grouped(number: str) -> None:
    left = ingested(number.encode(), ALL).decode()
    assert left.count("[card]") == 1
    assert len(re.findall("[0-9]", left)) <= 7


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111112",  # the check digit
        "1111111111111117",  # no kind of card
        "411111111111",  # too short
        "41111111111111110000000",  # a part of something longer
        "0.4111111111111111",  # decimals
        "4111.1111.1111.1111",
    ],
)
def test_other_numbers_stay(number: str) -> None:
    assert ingested(number.encode(), ALL) == number.encode()


@given(st.integers(10**11, 10**17))
def test_every_number_has_one_check_digit(number: int) -> None:
    assert sum(luhn(f"{number}{digit}".encode()) for digit in range(10)) == 1


def test_words_about_bearers_are_no_tokens() -> None:
    text = b"the bearer of this letter; bearer shares; joe at example.org; a@b"
    assert ingested(text, ALL) == text


def test_of_json_only_the_strings_change_and_everything_else_stays_byte_for_byte() -> None:
    text = rb'{ "n":1.0e+400 ,"big":4111111111111111,"a":[ "x", "\u0041\/", '
    text += rb'"mail \u006Aoe\u0040example.org \"!\"\n" ] , "b":-0.0}'
    left = ingested(text, ALL, Form.JSON)
    assert left == text.replace(rb"\u006Aoe\u0040example.org", b"[email]")


def test_names_of_objects_are_kept_and_refused_where_a_rule_refuses() -> None:
    text = b'{"joe@example.org" : "hello"}'
    assert ingested(text, ALL, Form.JSON) == text
    with pytest.raises(Problem, match="refuses messages with email"):
        ingested(text, {"rules": [{"ready": "email", "action": "refuse"}]}, Form.JSON)


def test_a_payload_that_is_one_string_is_looked_at() -> None:
    assert ingested(b'"joe@example.org"', ALL, Form.JSON) == b'"[email]"'


def test_no_match_goes_from_one_string_into_the_next_or_over_a_line() -> None:
    table = one(pattern=r"a\s*b|(?s)a.b|[^x]{4}", **{"with": "!"})
    assert ingested(b'["a","b"]', table, Form.JSON) == b'["a","b"]'
    assert ingested(b"a\nb", table) == b"a\nb"
    assert ingested(rb'["a\nb","a b"]', table, Form.JSON) == rb'["a\nb","!"]'


def test_the_ends_of_a_line_are_those_of_each_string() -> None:
    assert ingested(b'["secret","a secret"]', one(pattern="^secret$"), Form.JSON) == b'["[own]","a secret"]'


#: The doors let no lone surrogate in.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
TREES = st.recursive(
    st.none() | st.integers() | TEXTS | st.sampled_from(["a@example.org", "x\na@example.org", "", '"\\']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def redacted(tree: Any) -> Any:
    """What must become of a tree, found in another way."""
    if isinstance(tree, str):
        return tree.replace("a@example.org", "[email]")
    if isinstance(tree, list):
        return [redacted(each) for each in tree]
    return {name: redacted(each) for name, each in tree.items()} if isinstance(tree, dict) else tree


@given(TREES, st.booleans())
def test_json_stays_json(tree: Any, ascii_only: bool) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only).encode()
    table = one(pattern=r"a@example\.org", **{"with": "[email]"})
    assert json.loads(ingested(text, table, Form.JSON)) == redacted(tree)


def test_latin_text_stays_latin() -> None:
    text = "Grüße an joe@example.org".encode("latin-1")
    assert ingested(text, ALL, Form.LATIN1) == "Grüße an [email]".encode("latin-1")
    assert ingested(text, one(pattern="ü"), Form.LATIN1) == "Gr[own]ße an joe@example.org".encode("latin-1")


def test_what_is_no_text_passes() -> None:
    assert ingested(b"joe@example.org", ALL, Form.BINARY) == b"joe@example.org"


def test_rules_apply_in_their_order_each_to_what_the_ones_before_it_left() -> None:
    table = {"rules": [{"name": "a", "pattern": "x"}, {"name": "b", "pattern": r"\[a\]"}]}
    assert ingested(b"x", table) == b"[b]"


def test_a_rule_concerns_the_agents_that_it_names() -> None:
    redact = make_filter(read(one(pattern="x", agents=["desk-*", "lab"])), Relay())
    assert redact.ingest(handed_in(b"x", agent="lab")).payload == b"[own]"
    assert redact.ingest(handed_in(b"x", agent="desk-7")).payload == b"[own]"
    assert redact.ingest(handed_in(b"x", agent="labour")) is None


def test_a_message_is_refused_without_a_word_of_what_was_found() -> None:
    relay = Relay()
    with pytest.raises(Problem) as refusal:
        ingested(CARD.encode(), {"rules": [{"ready": "card", "action": "refuse"}]}, relay=relay)
    assert refusal.value.status == 422
    assert "card" in refusal.value.detail
    assert "4111" not in str(refusal.value.members())
    assert relay.counts == {"refused_card": 1}


def test_what_is_looked_at_before_it_is_sent_is_kept_as_it_came() -> None:
    redact = make_filter(read(one(pattern="x", at="before_send")), Relay())
    assert not hasattr(redact, "ingest")
    changed = redact.before_send(going_out(b"x"))
    assert (changed.id, changed.payload) == ("m1", b"[own]")
    assert redact.before_send(going_out(b"y")) is None


def test_each_place_has_the_rules_that_are_meant_for_it() -> None:
    table = {"rules": [{"name": "a", "pattern": "a"}, {"name": "b", "pattern": "b", "at": "before_send"}]}
    redact = make_filter(read(table), Relay())
    assert redact.ingest(handed_in(b"ab")).payload == b"[a]b"
    assert redact.before_send(going_out(b"ab")).payload == b"a[b]"


def test_without_a_rule_for_a_place_there_is_no_hook_there() -> None:
    assert not hasattr(make_filter(read(one(pattern="x")), Relay()), "before_send")


def test_a_payload_may_not_grow_beyond_the_limit() -> None:
    with pytest.raises(Problem, match="payload-too-large"):
        ingested(b"xxx", one(pattern="x", **{"with": "y" * 100}), relay=Relay(payload=200))


def test_more_matches_than_may_be_are_refused() -> None:
    relay = Relay()
    with pytest.raises(Problem) as refusal:
        ingested(b"x" * 20_001, one(pattern="x"), relay=relay)
    assert refusal.value.word == "rejected"
    assert relay.counts == {"too_much": 1}
    assert ingested(b"x" * 20_000, one(pattern="x", **{"with": ""})) == b""


def test_the_matches_of_all_rules_together_are_bounded() -> None:
    table = {"rules": [{"name": "a", "pattern": "a", "with": "b"}, {"name": "b", "pattern": "b"}]}
    with pytest.raises(Problem, match="more"):
        ingested(b"a" * 10_001, table)


def test_groups_of_digits_that_are_no_card_numbers_are_bounded_too() -> None:
    with pytest.raises(Problem, match="more"):
        ingested(b"4111 1111 1111 1112 " * 20_000, ALL)


def test_what_is_read_again_for_each_match_is_bounded() -> None:
    find = pattern("a[^z]*z|a")
    text = b"a" * 50_000
    with pytest.raises(TooMuch):
        list(find(text, Budget(matches=1 << 30)))
    # On short lines the same is read once.
    assert len(list(find(b"a\n" * 15_000, Budget()))) == 15_000


def test_a_pattern_that_would_run_away_elsewhere_does_not_here() -> None:
    assert ingested(b"x" * 1_000_000, one(pattern="(x+x+)+y")) == b"x" * 1_000_000


@pytest.mark.parametrize(
    ("table", "key", "allowed"),
    [
        ({}, "ready", "card, email, bearer"),
        ({"ready": ["iban"]}, "ready", "card, email, bearer"),
        ({"ready": "card iban"}, "ready", "card, email, bearer"),
        ({"ready": ["card"], "colour": 1}, "colour", "rules, ready"),
        ({"rules": []}, "rules", "40 at most"),
        ({"rules": [{"pattern": "x"}]}, "rules.0.name", "a name"),
        ({"rules": [{"ready": "card"}, {"name": "X", "pattern": "x"}]}, "rules.1.name", "a name"),
        (one(), "rules.0.pattern", "either a pattern, or ready"),
        (one(pattern="x", ready="card"), "rules.0.pattern", "either a pattern, or ready"),
        (one(pattern=7), "rules.0.pattern", "a regular expression"),
        (one(pattern="(x"), "rules.0.pattern", "missing )"),
        (one(pattern=r"(x)\1"), "rules.0.pattern", "invalid escape"),
        (one(pattern="(?=x)"), "rules.0.pattern", "invalid perl operator"),
        (one(pattern="x*"), "rules.0.pattern", "does not match the empty text"),
        (one(pattern="x" * 1001), "rules.0.pattern", "1 to 1000 characters"),
        (one(pattern="[a-q][^u-z]{300}x"), "rules.0.pattern", "a simpler pattern"),
        (one(pattern=r"\Ax"), "rules.0.pattern", "the ends of a line"),
        (one(pattern="x", **{"with": "€"}), "rules.0.with", "ASCII"),
        (one(pattern="x", **{"with": "a\nb"}), "rules.0.with", "ASCII"),
        (one(pattern="x", action="drop"), "rules.0.action", "replace, refuse"),
        (one(pattern="x", action="refuse", **{"with": "y"}), "rules.0.with", "only where action is replace"),
        (one(pattern="x", at="egress"), "rules.0.at", "ingest, before_send"),
        (one(pattern="x", agents=["a/b"]), "rules.0.agents", "patterns of agent ids"),
        (one(pattern="x", agents=[]), "rules.0.agents", "patterns of agent ids"),
        (one(pattern="x", patern="y"), "rules.0.patern", "pattern"),
        ({"rules": [{"ready": "card", "ignore_case": True}]}, "rules.0.ignore_case", "only with a pattern"),
        ({"rules": [{"ready": "card"}], "ready": ["card"]}, "rules", "another name"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_their_key(table: dict[str, Any], key: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(table)
    assert refusal.value.key == key
    assert allowed in refusal.value.allowed
    assert "\n" not in str(refusal.value)


def test_the_environment_says_it_in_one_string() -> None:
    assert [rule.name for rule in read({"ready": "card email"})] == ["card", "email"]


def test_the_description_is_a_plugin() -> None:
    from twisted.plugin import IPlugin
    from zope.interface.verify import verifyObject

    from relay.extensions import IMessageFilterPlugin
    from relay.plugins.relay_redact import redact

    assert verifyObject(IMessageFilterPlugin, redact)
    assert IPlugin.providedBy(redact)
    assert (
        redact.filter(redact.read({"ready": ["card"]}), Relay()).ingest(handed_in(CARD.encode())).payload == b"[card]"
    )
