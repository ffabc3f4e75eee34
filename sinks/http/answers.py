"""What a subscriber's answer says, before anybody judges it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from broker.codecs import http as codec
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event
from broker.ports import Accepted, Answer, Refused
from broker.ports.sinks import Headers
from sinks.http.credentials import hidden
from sinks.http.reader import MAX_BODY, Response

KEPT_BODY: Final = 1024
"""Bytes of a refusal's body that are kept for the dead letter."""

_HEEDS_RETRY_AFTER: Final = frozenset({429, 503})
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def answer_of(response: Response, secrets: frozenset[bytes] = frozenset()) -> Answer:
    """Judge nothing yet, but say what the subscriber said, without the ``secrets`` in it."""
    match response.status:
        case 200:
            return _reply(response, secrets)
        case status if 200 <= status < 300:
            return _taken(response, secrets)
        case status:
            return Refused(
                reason=phrase(status),
                status=status,
                headers=_headers(response, secrets),
                body=_kept(response.body, secrets),
                retry_after=retry_after(response) if status in _HEEDS_RETRY_AFTER else None,
            )


def _taken(
    response: Response, secrets: frozenset[bytes], *, reply: Event | None = None
) -> Accepted:
    return Accepted(
        reply=reply,
        note=None if reply is not None else _ignored(response),
        status=response.status,
        headers=_headers(response, secrets),
        body=_kept(response.body, secrets) if response.body else b"",
    )


def _headers(response: Response, secrets: frozenset[bytes]) -> Headers:
    if not secrets:
        return response.headers
    return [(name, hidden(value, secrets)) for name, value in response.headers]


def _kept(body: bytes, secrets: frozenset[bytes]) -> bytes:
    # Cut afterwards: the first half of a secret is one too.
    return hidden(body, secrets)[:KEPT_BODY]


def _reply(response: Response, secrets: frozenset[bytes]) -> Answer:
    """Take the event that a 200 carries, if it claims to carry one.

    A body that makes no such claim is the subscriber's own business. One that makes it falsely
    is a reply that would be lost, so the delivery has failed.
    """
    if not codec.claims_event(response.headers):
        return _taken(response, secrets)
    if response.truncated:
        return _no_reply(response, f"it is larger than {MAX_BODY} bytes", secrets)
    try:
        events: Sequence[Event] = codec.decode(response.headers, response.body)
    except (InvalidEvent, UnsupportedContent) as error:
        return _no_reply(response, str(error), secrets)
    if len(events) != 1:
        why = f"it is a batch of {len(events)}, and a reply is one event"
        return _no_reply(response, why, secrets)
    return _taken(response, secrets, reply=events[0])


def _no_reply(response: Response, why: str, secrets: frozenset[bytes]) -> Refused:
    why = hidden(why.encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
    return Refused(
        reason=f"the reply is not a CloudEvent that can be taken: {why}",
        status=response.status,
        headers=_headers(response, secrets),
        body=_kept(response.body, secrets),
    )


def _ignored(response: Response) -> str | None:
    if response.truncated:
        return f"the answer's body, larger than {MAX_BODY} bytes, was ignored"
    if not response.body:
        return None
    return f"the answer's body ({len(response.body)} bytes) was ignored: it is no reply"


def phrase(status: int) -> str:
    """Return the status with its name: ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def retry_after(response: Response) -> timedelta | None:
    """Return how long the answer asks to wait: seconds, or until an HTTP date (RFC 9110, 10.2.3).

    None where it does not say, or says it in another way.
    """
    value = (response.header(b"retry-after") or b"").decode("latin-1")
    if _SECONDS.fullmatch(value):
        return timedelta(seconds=int(value))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(date - datetime.now(UTC), timedelta(0))
