"""Whatever comes, each parser takes it or says in its own words what is wrong: it raises nothing else."""

from __future__ import annotations

import json
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import asking, payload, posting, tokenfile, wire
from relay.core.access import is_name, is_pattern, matches
from relay.core.json import NotJson, check
from relay.core.limits import Limits
from relay.core.problems import PROBLEMS, Problem
from relay.core.tokenfile import BadTokenFile
from relay.core.webhooks import judge, read_secret
from relay.core.wire import BadFrame
from tests.faults.noise import FRAMES, PAYLOADS, REGISTER, in_json, spoil, twist

LINE = {"agent": "a", "payload": {"b": [1]}, "content_type": "text/plain", "encoding": "base64", "headers": {"a": "b"}}
ASKED = {"ttl": 60, "topic": "t", "idempotency_key": "k", "wait": 1.5, "async": True, "ref": "r"}
SEEDS = [
    *FRAMES,
    {"type": "register", "agent": "a", "token": "t", **REGISTER},
    LINE,
    {**LINE, **ASKED, "type": "publish"},
]
DIGEST = "0" * 64
FILE = f"""# ours
[tokens.a]
sha256 = "{DIGEST}"
publish = ["desk-*"]
agent = ['x', "y"]
admin = true
created = 2026-11-27T00:00:00Z
expires = 2027-01-16T00:00:00+01:00
"""


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A frame or a line with mistakes in its JSON, in its bytes, or in both."""
    # A seed rather than ``st.randoms``: what noise takes from it would be most of an example.
    chance = Random(draw(st.integers(0, 2**64 - 1)))
    told: object = chance.choice(SEEDS)
    for _ in range(chance.choice([0, 1, 1, 2])):
        told = twist(told, chance)
    data = in_json(told, chance)
    return spoil(data, chance) if chance.random() < 0.7 else data


ID = "0197fd0b-2f5a-7a31-9c0e-9f6a2b1c3d4e"
PLAIN = [b'{"type":"ack","id":"%b"}' % ID.encode(), json.dumps({"type": "ack", "id": ID}).encode()]


@given(st.sampled_from(PLAIN), st.integers(0, 2**64 - 1), st.booleans())
def test_an_ack_that_is_known_by_its_looks_is_what_it_would_be_read_as(plain: bytes, seed: int, sound: bool) -> None:
    data = plain if sound else spoil(plain, Random(seed))
    id = wire.acknowledged(data)
    assert not sound or id == ID
    if id is not None:
        assert wire.parse(data) == ("ack", wire.Ack(id))


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"ack","id":"%b","confirm":true}' % ID.encode(),
        b'{"type":"ack","id":"%b","reply":1}' % ID.encode(),
        b'{"type":"ack","ids":["%b"]}' % ID.encode(),
        b'{"type":"nack","id":"%b"}' % ID.encode(),
        b'{"type":"ack","id":"m"}',
    ],
)
def test_what_says_more_than_one_id_is_no_plain_ack(frame: bytes) -> None:
    assert wire.acknowledged(frame) is None


@given(spoiled())
def test_a_frame_is_read_or_refused(data: bytes) -> None:
    try:
        kind, frame = wire.parse(data)
    except BadFrame as error:
        assert error.code in ("invalid-frame", "unknown-type")
        assert error.detail.isprintable()
        json.loads(wire.error(error.code, error.detail))
    else:
        assert kind in ("register", "ack", "nack", "progress", "window", "auth", "ping", "publish")
        if isinstance(frame, wire.Ack) and not isinstance(frame.reply, msgspec.UnsetType):
            json.loads(bytes(frame.reply), parse_int=str)


@given(spoiled())
def test_a_line_is_read_or_refused_and_what_it_carries_is_sound(data: bytes) -> None:
    ref = posting.ref_of(data)
    assert ref is None or len(ref) <= posting.LONGEST_REF
    try:
        read = posting.read(data, Limits(), default_wait=5.0, publisher="p", hosts=frozenset({"hooks.example"}))
    except Problem as problem:
        assert problem.word in PROBLEMS and problem.status < 500
        json.dumps(problem.members()).encode("utf-8")
        return
    assert 0 <= read.wait <= Limits().wait_max and read.publisher == "p"
    assert read.ttl is None or read.ttl >= 0
    assert all(name == name.lower() and value.isprintable() for name, value in read.headers)
    if read.form.name == "JSON":
        check(read.payload)


@given(spoiled())
def test_what_may_be_passed_on_is_what_a_strict_parser_reads(data: bytes) -> None:
    try:
        check(data)
    except NotJson as error:
        assert str(error)
    else:
        json.loads(data, parse_int=str)
        data.decode("utf-8")


@given(st.integers(0, 2**64 - 1), st.sampled_from(PAYLOADS))
def test_a_body_is_read_or_refused(seed: int, seeds: tuple[str, bytes]) -> None:
    chance = Random(seed)
    content_type, body = seeds
    said = spoil(content_type.encode(), chance).decode("latin-1") if chance.random() < 0.7 else content_type
    body = spoil(body, chance) if chance.random() < 0.7 else body
    try:
        form, told = payload.read([said] * chance.choice([0, 1, 1, 1, 2]), body)
    except Problem as problem:
        assert problem.status in (400, 415)
    else:
        assert told.isascii() and form


@given(st.integers(0, 2**64 - 1))
def test_a_token_file_is_read_or_refused_in_one_line(seed: int) -> None:
    text = spoil(FILE.encode(), Random(seed), [FILE.encode()]).decode("utf-8", "replace")
    try:
        entries = tokenfile.read(text)
    except BadTokenFile as error:
        assert "\n" not in str(error)
        return
    for name, entry in entries.items():
        assert is_name(name)
        assert all(map(is_pattern, (*entry.publish, *entry.agent)))
        assert entry.grant().admin in (True, False)


@given(st.text(max_size=80))
def test_nothing_that_is_called_oddly_stands_in_a_token_file(name: str) -> None:
    if not tokenfile.is_token_name(name):
        return
    grown = tokenfile.with_token(FILE, tokenfile.TokenEntry(name + "-", "1" * 64)) if len(name) < 60 else FILE
    assert set(tokenfile.read(grown)) <= {"a", name + "-"}


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_pattern_means_what_a_simpler_reader_takes_it_for(pattern: str, agent: str) -> None:
    def means(pattern: str, agent: str) -> bool:
        if not pattern:
            return not agent
        if pattern[0] == "*":
            return means(pattern[1:], agent) or (bool(agent) and means(pattern, agent[1:]))
        return bool(agent) and agent[0] == pattern[0] and means(pattern[1:], agent[1:])

    assert matches(pattern, agent) == means(pattern, agent)


@given(st.text(max_size=200) | st.text("https://.@:#?[]%\\ \n", max_size=60))
def test_a_header_of_a_publisher_is_read_or_refused(text: str) -> None:
    for read in (asking.ttl, asking.topic, asking.key):
        try:
            read(text)
        except Problem as problem:
            assert problem.word == "invalid-header"
    for url in (text, "https://hooks.example" + text):
        try:
            assert asking.callback(url, {"hooks.example"}).isascii()
        except Problem as problem:
            assert problem.word == "invalid-header"


@given(st.text(max_size=60), st.integers(100, 599))
def test_whatever_a_receiver_says_is_a_verdict(retry_after: str, status: int) -> None:
    answer = judge(status, [retry_after], 1_800_000_000.0)
    assert answer.retry_after is None or answer.retry_after >= 0


@given(st.text(max_size=60))
def test_a_secret_that_is_none_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_") as refused:
        read_secret("x" + text)
    with pytest.raises(ValueError, match="whsec_") as another:
        read_secret("x")
    assert str(refused.value) == str(another.value)
