"""A record as a row of ``messages``, and back."""

from __future__ import annotations

from typing import Any, Final

from relay.core.model import Form, Message, Record, Trials
from relay.store.checksum import checksum

#: What ``row_of`` gives, in its order.
PUT_COLUMNS: Final = (
    "place, id, agent, content_type, form, created_at, expires_at, attempts, failures, nacks, first_failure_at,"
    " not_before, size, checksum, payload"
)

#: What ``record_of`` takes, in its order. Texts come as bytes: one with a flipped bit may not be UTF-8 any more.
GET_COLUMNS: Final = (
    "place, CAST(id AS BLOB), CAST(content_type AS BLOB), CAST(form AS BLOB), created_at, expires_at, attempts,"
    " failures, nacks, first_failure_at, not_before, checksum, payload"
)

Row = tuple[Any, ...]


def row_of(record: Record) -> Row:
    """The values of ``PUT_COLUMNS``."""
    message, trials = record.message, record.trials
    form = message.form.value
    digest = checksum(
        message.id.encode(), message.agent.encode(), message.content_type.encode(), form.encode(), message.payload
    )
    return (
        record.place,
        message.id,
        message.agent,
        message.content_type,
        form,
        message.created_at,
        message.expires_at,
        trials.attempts,
        trials.failures,
        trials.nacks,
        trials.first_failure_at,
        trials.not_before,
        len(message.payload),
        digest,
        message.payload,
    )


def record_of(agent: str, row: Row) -> Record | None:
    """The record that was put for ``agent``, or None if the row is not what was put."""
    place, id, content_type, form, created_at, expires_at, *trials, digest, payload = row
    try:
        if checksum(id, agent.encode(), content_type, form, payload) != digest:
            return None
        message = Message(
            id.decode(),
            agent,
            payload,
            content_type.decode(),
            Form(form.decode()),
            float(created_at),
            float(expires_at),
        )
        return Record(place, message, Trials(*map(int, trials[:3]), *map(float, trials[3:])))
    except (TypeError, ValueError):  # a bit of the row's header: a number where bytes were, or nothing at all
        return None


def id_of(row: Row) -> str:
    """The id in the row, as far as it can be read."""
    id = row[1]
    return id.decode(errors="replace") if isinstance(id, bytes) else ""
