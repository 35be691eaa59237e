"""A message as a line of JSON: of a batch (protocol 1.2) or in a ``publish`` frame (protocol 2.1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from relay.core import asking, payload
from relay.core.ids import is_agent_id
from relay.core.json import NotJson, check, check_shape
from relay.core.limits import Limits
from relay.core.model import Form, Outcome, Reason, Submission
from relay.core.problems import Problem

LONGEST_REF: Final = 64
DEEPEST: Final = 128
JSON: Final = "application/json"


class Line(msgspec.Struct, frozen=True):
    """The fields of a line; others are ignored."""

    agent: str
    payload: msgspec.Raw
    content_type: str | None = None
    encoding: str | None = None
    headers: dict[str, str] | None = None
    ttl: int | None = None
    topic: str | None = None
    idempotency_key: str | None = None
    callback_url: str | None = None
    wait: float | None = None
    respond_async: bool = msgspec.field(default=False, name="async")
    ref: str | None = None


class _Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A line that asks for nothing, as most do."""

    agent: str
    payload: msgspec.Raw
    ref: str | None = None
    content_type: Literal["application/json"] | None = None  #: what it would be anyway
    type: msgspec.Raw = msgspec.Raw(b"")  #: of a ``publish`` frame; in a line it is ignored, whatever it is


class _Ref(msgspec.Struct, frozen=True):
    ref: str | None = None


class _Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An outcome as the publisher is told it; what is None is left out."""

    type: str | None = None
    line: int | None = None
    ref: str | None = None
    id: str
    agent: str
    status: str
    attempts: int
    reason: Reason | None = None
    durable: bool | None = None
    reply: msgspec.Raw | None = None
    idempotent_replay: bool | None = None


_line: Final = msgspec.json.Decoder(Line)
_plain: Final = msgspec.json.Decoder(_Plain)
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_ref: Final = msgspec.json.Decoder(_Ref)


def ref_of(data: bytes) -> str | None:
    """The ``ref`` of a line, as far as it can be read."""
    if b'ref"' not in data and b"\\" not in data:  # a name may be written with escapes
        return None
    try:
        ref = _ref.decode(data).ref
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return ref if ref is None or len(ref) <= LONGEST_REF else None


def result(outcome: Outcome, *, ref: str | None = None, kind: str | None = None) -> bytes:
    """What became of a message, as JSON: the answer to a POST, or a ``result`` frame."""
    return _encode(_result(outcome, ref, None, kind))


def results(told: Sequence[tuple[int, str | None, Outcome]]) -> bytes:
    """Lines of the answer to a batch: what became of each, after its number and its ``ref``."""
    return _encode_lines([_result(outcome, ref, line) for line, ref, outcome in told])


def _result(outcome: Outcome, ref: str | None, line: int | None, kind: str | None = None) -> _Result:
    return _Result(
        type=kind,
        line=line,
        ref=ref,
        id=outcome.id,
        agent=outcome.agent,
        status=outcome.status,
        attempts=outcome.attempts,
        reason=outcome.reason,
        durable=None if outcome.durable or outcome.reason is None else False,
        reply=None if outcome.reply is None else msgspec.Raw(outcome.reply),
        idempotent_replay=outcome.replay or None,
    )


def read(data: bytes, limits: Limits, *, default_wait: float, publisher: str, hosts: frozenset[str]) -> Submission:
    """A line as a submission. Raises Problem; the words are those of the POST."""
    try:
        check_shape(data, DEEPEST)
        line = _line.decode(data)
    except NotJson as error:
        raise Problem("invalid-json", str(error)) from None
    except msgspec.DecodeError as error:
        raise Problem("invalid-json", _complaint(data, error)) from None
    if line.ref is not None and len(line.ref) > LONGEST_REF:
        raise Problem("invalid-json", f"'ref' must have at most {LONGEST_REF} characters")
    if not is_agent_id(line.agent):
        raise Problem("invalid-agent-id", "'agent' must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -")
    return _submission(line, limits, default_wait, publisher, hosts)


def read_all(
    lines: Sequence[bytes], limits: Limits, *, default_wait: float, publisher: str, hosts: frozenset[str]
) -> list[tuple[str | None, Submission]] | None:
    """Lines that came together, each as its ``ref`` and a submission: as ``read`` reads them, in half the time.

    None if anything is wrong with any of them: then ``read`` says what, of each.
    """
    try:
        b"\n".join(lines).decode("utf-8")
        if [data for data in lines if data.count(b"[") + data.count(b"{") > DEEPEST]:
            return None
        read = _read_plain(lines, limits, default_wait, publisher)
        if read is None:
            found = list(map(_line.decode, lines))
            read = [(line.ref, _submission(line, limits, default_wait, publisher, hosts)) for line in found]
    except (Problem, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if [ref for ref, _ in read if ref is not None and len(ref) > LONGEST_REF]:
        return None
    return read if all(map(is_agent_id, {submission.agent for _, submission in read})) else None


def _read_plain(
    lines: Sequence[bytes], limits: Limits, default_wait: float, publisher: str
) -> list[tuple[str | None, Submission]] | None:
    """The same for lines of which none asks for anything, nor may have too large a payload; None if one does."""
    if max(map(len, lines)) > limits.payload:
        return None
    try:
        found = list(map(_plain.decode, lines))
    except msgspec.ValidationError:
        return None
    wait = min(max(default_wait, 0.0), limits.wait_max)
    return [
        (line.ref, Submission(line.agent, bytes(line.payload), JSON, Form.JSON, wait, publisher=publisher))
        for line in found
    ]


def _submission(line: Line, limits: Limits, default_wait: float, publisher: str, hosts: frozenset[str]) -> Submission:
    form, content_type, body = _payload(line)
    if len(body) > limits.payload:
        detail = f"the payload has {len(body)} bytes; allowed are {limits.payload}"
        raise Problem("payload-too-large", detail, limit="payload")
    ttl = None if line.ttl is None else _ttl(line.ttl, limits)
    asking.check_now_or_never(ttl, line.respond_async)
    wait = (0.0 if line.respond_async else default_wait) if line.wait is None else line.wait
    return Submission(
        agent=line.agent,
        payload=body,
        content_type=content_type,
        form=form,
        wait=min(max(wait, 0.0), limits.wait_max),
        respond_async=line.respond_async,
        ttl=ttl,
        topic=None if line.topic is None else asking.topic(line.topic),
        headers=_headers(line.headers, limits) if line.headers else (),
        key=None if line.idempotency_key is None else asking.key(line.idempotency_key),
        callback=None if line.callback_url is None else asking.callback(line.callback_url, hosts),
        publisher=publisher,
    )


def _headers(given: dict[str, str], limits: Limits) -> tuple[tuple[str, str], ...]:
    """As over HTTP their names have no case."""
    return asking.headers(((name.lower(), value) for name, value in given.items()), limits)


def _complaint(data: bytes, error: msgspec.DecodeError) -> str:
    """What is wrong with a line that could not be read."""
    try:
        check(data, DEEPEST)
    except NotJson as worse:
        return str(worse)
    return f"not a message: {error}"[:200]


def _ttl(seconds: int, limits: Limits) -> float:
    if seconds < 0:
        raise Problem("invalid-header", "'ttl' must be a whole number of seconds, 0 or more")
    return min(seconds, limits.ttl_max)  # an integer may have more digits than a float can be made of


def _payload(line: Line) -> tuple[Form, str, bytes]:
    """Form, content type and bytes: the JSON slice as it came, or what ``encoding`` decodes to."""
    content_type = line.content_type
    if line.encoding is None:
        if content_type is not None:
            payload.check_type(content_type)
        return Form.JSON, content_type or JSON, bytes(line.payload)
    if line.encoding != "base64":
        raise Problem("invalid-json", "'encoding' must be 'base64' or left out")
    try:
        body = base64.b64decode(msgspec.json.decode(line.payload, type=str), validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Problem("invalid-json", "'payload' is not base64 (RFC 4648 section 4)") from None
    form, content_type = payload.read(["application/octet-stream" if content_type is None else content_type], body)
    return form, content_type, body
