"""Frames of messages that are made together are those which are made one by one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from relay.core import wire
from relay.core.model import Form, Message

PAYLOADS = {Form.JSON: b'{"a": 1}', Form.TEXT: "Müller".encode(), Form.LATIN1: b"M\xfcller", Form.BINARY: b"\x00\xff"}


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    kinds = st.tuples(st.sampled_from(Form), st.sampled_from(["application/json", "text/plain", 'a/b; c="\\"d"']))
    return [
        Message(str(number), "desk-1", PAYLOADS[form], content_type, form, 1e9, 2e9, publisher="ops")
        for number, (form, content_type) in enumerate(draw(st.lists(kinds, max_size=6)))
    ]


@given(messages(), st.booleans(), st.booleans())
def test_those_of_messages_that_came_together_are_those_of_each(
    items: list[Message], raw: bool, publisher: bool
) -> None:
    frames = wire.first_messages(items, raw=raw, publisher=publisher)
    assert frames == [wire.message(item, queued=False, attempt=1, raw=raw, publisher=publisher) for item in items]
    assert [frame["id"] for frame in map(json.loads, frames)] == [item.id for item in items]
