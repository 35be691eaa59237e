"""A record as a row of ``messages``, and back."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from relay.core.model import Form, Message, Past, Record, Status, Trials
from relay.store import timeline
from relay.store.checksum import checksum

#: What ``row_of`` gives, in its order.
PUT_COLUMNS: Final = (
    "place, id, agent, content_type, form, created_at, expires_at, attempts, failures, nacks, first_failure_at,"
    " not_before, size, checksum, payload, topic, headers, publisher, callback, timeline"
)

# Texts come as bytes: one with a flipped bit may not be UTF-8 any more.
FRONT: Final = (
    "place, CAST(id AS BLOB), CAST(content_type AS BLOB), CAST(form AS BLOB), created_at, expires_at, attempts,"
    " failures, nacks, first_failure_at, not_before, checksum"
)
NOT_BEFORE: Final = 10  #: where it stands among them
#: What is not read without reading the payload.
BACK: Final = (
    "CAST(topic AS BLOB)",
    "CAST(headers AS BLOB)",
    "CAST(publisher AS BLOB)",
    "CAST(callback AS BLOB)",
    "payload",
)
#: What ``record_of`` takes, in its order.
GET_COLUMNS: Final = f"{FRONT}, {', '.join(BACK)}"

#: What ``past_of`` takes, in its order.
PAST_COLUMNS: Final = (
    "CAST(id AS BLOB), CAST(agent AS BLOB), CAST(publisher AS BLOB), CAST(status AS BLOB), CAST(reason AS BLOB),"
    " attempts, created_at, expires_at, ended_at, reply, CAST(timeline AS BLOB), CAST(callback AS BLOB)"
)

Row = tuple[Any, ...]

_FORMS: Final = {form.value.encode(): form for form in Form}
_FORM_TEXTS: Final = {form.value.encode(): form.value for form in Form}
_UNTRIED: Final = Trials()

_encode_headers = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


def row_of(record: Record, lines: str) -> Row:
    """The values of ``PUT_COLUMNS``; ``lines`` are its history."""
    message, trials = record.message, record.trials
    id, agent, content_type, payload = message.id, message.agent, message.content_type, message.payload
    form = message.form.encode()
    headers = _encode_headers(message.headers) if message.headers else b""
    topic = message.topic.encode() if message.topic else b""
    digest = checksum(id.encode(), agent.encode(), content_type.encode(), form, payload, headers, topic)
    return (
        record.place,
        id,
        agent,
        content_type,
        _FORM_TEXTS[form],  # an enumeration asked for its value takes longer than all else here
        message.created_at,
        message.expires_at,
        trials.attempts,
        trials.failures,
        trials.nacks,
        trials.first_failure_at,
        trials.not_before,
        len(payload),
        digest,
        payload,
        message.topic,
        headers.decode() if headers else None,
        message.publisher,
        message.callback,
        lines,
    )


def record_of(agent: str, row: Row) -> Record | None:
    """The record that was put for ``agent``, or None if the row is not what was put."""
    try:
        return as_it_is(agent, row) if is_whole(agent, row) else None
    except (TypeError, ValueError):  # a bit of the row's header: a number where bytes were, or nothing at all
        return None


def is_whole(agent: str, row: Row) -> bool:
    """Does the checksum say that this is what was put?"""
    _, id, content_type, form, _, _, _, _, _, _, _, digest, topic, headers, _, _, payload = row
    try:
        found = checksum(id, agent.encode(), content_type, form, payload, headers or b"", topic or b"")
    except (TypeError, ValueError):
        return False
    return found == bytes(digest)


def as_it_is(agent: str, row: Row) -> Record:
    """The record in the row, whatever became of it. Raises TypeError or ValueError where it cannot be read at all."""
    (
        place,
        id,
        content_type,
        form,
        created_at,
        expires_at,
        attempts,
        failures,
        nacks,
        first_failure_at,
        not_before,
        _,
        topic,
        headers,
        publisher,
        callback,
        payload,
    ) = row
    message = Message(
        text(id),
        agent,
        payload,
        text(content_type),
        _FORMS.get(form) or Form(text(form)),
        float(created_at),
        float(expires_at),
        _decode_headers(headers) if headers else (),
        text(topic) if topic else None,
        text(publisher) if publisher else "",
        text(callback) if callback else None,
    )
    if not (attempts or failures or nacks or first_failure_at or not_before):
        return Record(place, message, _UNTRIED)  # as nearly always
    trials = Trials(int(attempts), int(failures), int(nacks), float(first_failure_at), float(not_before))
    return Record(place, message, trials)


def past_of(row: Row) -> Past:
    """The end in the row. Raises TypeError or ValueError where it cannot be read."""
    id, agent, publisher, status, reason, attempts, created_at, expires_at, ended_at, reply, lines, callback = row
    return Past(
        id=text(id),
        agent=text(agent),
        publisher=text(publisher),
        status=Status(text(status)),
        reason=text(reason),
        attempts=int(attempts),
        created_at=float(created_at),
        expires_at=float(expires_at),
        ended_at=float(ended_at),
        reply=reply,
        timeline=timeline.decode(lines),
        callback=text(callback) if callback else None,
    )


def id_of(row: Row) -> str:
    """The id in the row, as far as it can be read."""
    return text(row[1]) if isinstance(row[1], bytes) else ""


def text(value: bytes) -> str:
    """A text, as far as it can be read: one flipped bit is no reason to read nothing."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode(errors="replace")
