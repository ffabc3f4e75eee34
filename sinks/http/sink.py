"""Delivers events over HTTP, as Knative's brokers do (CloudEvents HTTP binding 1.0.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, Self

from broker.codecs import http as codec
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event
from broker.ports import Accepted, Answer, Refused, Sink, SinkOptions
from broker.trigger import Target
from sinks.http.address import InvalidUrl, Route, parse
from sinks.http.client import HttpClient
from sinks.http.reader import MAX_BODY, NoAnswer, Response
from sinks.http.tls import tls_context
from sinks.http.tracing import traceparent

KEPT_BODY: Final = 1024
"""Bytes of a refusal's body that are kept for the dead letter."""

_USER_AGENT: Final = b"cemesh/" + version("cemesh").encode("ascii")
_HEEDS_RETRY_AFTER: Final = frozenset({429, 503})
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class HttpSinks:
    """All http and https destinations; they share one client and its connections."""

    def __init__(self) -> None:
        self._client = HttpClient()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.__aexit__(*exc)

    @classmethod
    def check(cls, target: Target) -> str | None:
        try:
            if parse(target.url).origin.tls:
                tls_context(target.ca_certs)
        except (InvalidUrl, NoAnswer) as error:
            return str(error)
        return None

    def sink(self, target: Target, options: SinkOptions) -> Sink:
        return HttpSink(self._client, target, options)


class HttpSink:
    """One URL to POST events to."""

    def __init__(self, client: HttpClient, target: Target, options: SinkOptions) -> None:
        self._client = client
        self._target = target
        self._route = Route(
            ca_certs=target.ca_certs,
            certificate=options.credentials.certificate,
            network=options.network,
        )
        self._timeout = options.timeout
        self._mode = options.content_mode
        self._headers = [
            (b"User-Agent", _USER_AGENT),
            (b"Prefer", b"reply"),
            (b"Kn-Namespace", options.namespace.encode("ascii")),
        ]

    async def attempt(self, event: Event) -> Answer:
        headers, body = codec.encode(event, self._mode)
        trace = (b"traceparent", traceparent(event.attributes.get("traceparent")))
        try:
            response = await self._client.request(
                "POST",
                self._target.url,
                [*self._headers, trace, *headers],
                body,
                timeout=self._timeout,
                route=self._route,
            )
        except NoAnswer as error:
            return Refused(reason=error.reason)
        except InvalidUrl as error:
            return Refused(reason=str(error), permanent=True)
        return answer_of(response)


def answer_of(response: Response) -> Answer:
    """Judge nothing yet, but say what the subscriber said."""
    match response.status:
        case 200:
            return _reply(response)
        case status if 200 <= status < 300:
            return Accepted(note=_ignored(response))
        case status:
            heeded = status in _HEEDS_RETRY_AFTER
            return Refused(
                reason=_phrase(status),
                status=status,
                body=response.body[:KEPT_BODY],
                retry_after=retry_after(response, datetime.now(UTC)) if heeded else None,
            )


def _reply(response: Response) -> Answer:
    """Take the event that a 200 carries, if it claims to carry one.

    A body that makes no such claim is the subscriber's own business. One that makes it falsely
    is a reply that would be lost, so the delivery has failed.
    """
    if not codec.claims_event(response.headers):
        return Accepted(note=_ignored(response))
    if response.truncated:
        return _no_reply(response, f"it is larger than {MAX_BODY} bytes")
    try:
        events: Sequence[Event] = codec.decode(response.headers, response.body)
    except (InvalidEvent, UnsupportedContent) as error:
        return _no_reply(response, str(error))
    if len(events) != 1:
        return _no_reply(response, f"it is a batch of {len(events)}, and a reply is one event")
    return Accepted(reply=events[0])


def _no_reply(response: Response, why: str) -> Refused:
    return Refused(
        reason=f"the reply is not a CloudEvent that can be taken: {why}",
        status=response.status,
        body=response.body[:KEPT_BODY],
    )


def _ignored(response: Response) -> str | None:
    if response.truncated:
        return f"the answer's body, larger than {MAX_BODY} bytes, was ignored"
    if not response.body:
        return None
    return f"the answer's body ({len(response.body)} bytes) was ignored: it is no reply"


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def retry_after(response: Response, now: datetime) -> timedelta | None:
    """Return how long the answer asks to wait: seconds, or until an HTTP date (RFC 9110, 10.2.3).

    None where it does not say, or says it in another way.
    """
    value = (response.header(b"retry-after") or b"").decode("latin-1")
    if _SECONDS.fullmatch(value):
        return timedelta(seconds=int(value))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(date - now, timedelta(0))
