"""Takes webhooks that prove who sent them, and emits what they tell."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import ClassVar, Final

from broker.codecs.http import claims_event, decode
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event, check_attribute
from broker.ports import Emitter, HttpReply, HttpRequest, SourceContext
from sources.webhook.generic import generic
from sources.webhook.payloads import Payload, payload_of
from sources.webhook.presets import PRESETS
from sources.webhook.services import Service
from sources.webhook.signatures import Unverified
from sources.webhook.spec import EventSpec, WebhookSpec

_log: Final = logging.getLogger("cemesh.sources.webhook")

_QUIET: Final = 60
"""Seconds between two lines of the log on what was refused: anybody can have it refused."""


class WebhookSource:
    """Emits what a service tells by webhooks, and answers once that is durable.

    Of what is not proved to be the service's nothing is kept.
    """

    Spec: ClassVar = WebhookSpec

    def __init__(self, spec: WebhookSpec, context: SourceContext) -> None:
        self._context = context
        self._service = _service_of(spec)
        self._verify = (
            None if spec.unverified else self._service.verifier(spec.keys, spec.tolerance)
        )
        self._refused = _Refused(f"{context.kind} {context.namespace}/{context.name}")

    async def receive(self, request: HttpRequest, emit: Emitter) -> HttpReply:
        """Emit what the request tells. Raises `InvalidEvent` for an event that is none."""
        if request.method != "POST":
            return _problem(405, "webhooks are taken by POST", {"allow": "POST"})
        try:
            if self._verify is not None:
                self._verify(request, time.time())
        except Unverified as refusal:
            self._refused.tell(str(refusal))
            return _problem(401, str(refusal), {"www-authenticate": "Signature"})
        encoding = request.header("content-encoding") or "identity"
        if encoding.strip().lower() != "identity":
            raise UnsupportedContent(f"the content encoding '{encoding}' is not read")
        payload = payload_of(request)
        answer = self._service.answer(request, payload)
        if answer is None:
            await emit(self._events(request, payload))
            answer = HttpReply(status=self._service.status)
        return answer

    def _events(self, request: HttpRequest, payload: Payload) -> list[Event]:
        headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers
        ]
        if self._service.keeps_events and claims_event(headers):
            return decode(headers, request.body)
        return [self._event(request, payload)]

    def _event(self, request: HttpRequest, payload: Payload) -> Event:
        """Return the event of what is told, as far as an event can have it."""
        told = {
            **self._service.told(request, payload),
            "datacontenttype": payload.content_type,
        }
        attributes = {
            "specversion": "1.0",
            "id": sha256(request.body).hexdigest(),
            "source": self._context.uri,
            "type": f"{self._service.prefix}webhook",
            **{name: text for name, text in told.items() if text and _can_be(name, text)},
        }
        return Event.checked(attributes, payload.data)


def _service_of(spec: WebhookSpec) -> Service:
    if spec.preset is not None:
        return PRESETS[spec.preset]
    return generic(spec.hmac, spec.event or EventSpec())


def _can_be(name: str, text: str) -> bool:
    try:
        check_attribute(name, text)
    except InvalidEvent:
        return False
    return True


class _Refused:
    """Tells the log of requests that are refused."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0
        self._next = time.monotonic()

    def tell(self, why: str) -> None:
        """Tell of one more, and why; within a minute of the last line, the next has it counted."""
        self._count += 1
        if time.monotonic() >= self._next:
            fields = {"source": self._source, "why": why, "count": self._count}
            _log.info("webhooks refused", extra=fields)
            self._count, self._next = 0, time.monotonic() + _QUIET


def _problem(status: int, detail: str, headers: Mapping[str, str]) -> HttpReply:
    """Return a problem document (RFC 9457)."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return HttpReply(
        status=status,
        headers={"content-type": "application/problem+json", **headers},
        body=json.dumps(document).encode(),
    )
