"""What spans say, in the words of OpenTelemetry's semantic conventions.

Of messaging, of CloudEvents and of HTTP, and in names of our own that begin with ``cemesh.``. Of a
URL only the server is told: paths and queries may hold secrets, as those of chats do. Nothing is
told of payloads but their size, and nothing of headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from broker.event import Event
from broker.ports import Answer, Attempt, Origin, Reason, Refused

Attributes = Mapping[str, str | int | bool]

_SYSTEM: Final = {"messaging.system": "cemesh"}
_PORTS: Final = {"http": 80, "https": 443}

_OF_EVENTS: Final = {
    "id": "cloudevents.event_id",
    "source": "cloudevents.event_source",
    "specversion": "cloudevents.event_spec_version",
    "type": "cloudevents.event_type",
    "subject": "cloudevents.event_subject",
}


def of_arrival(broker: str, event: Event, origin: Origin) -> Attributes:
    """Return what is told of an event that a broker has stored."""
    told: dict[str, str | int | bool] = {
        **_of_operation("publish", "send", broker, event),
        "cemesh.origin": origin.kind,
    }
    if origin.kind == "request":
        told["http.request.method"] = "POST"
        told["http.response.status_code"] = 202
        told["url.path"] = f"/{broker}"
    else:
        told["cemesh.origin.name"] = origin.who
    if origin.cause is not None:
        told["cemesh.cause.source"], told["cemesh.cause.id"] = origin.cause
    return told


def of_refusal(broker: str, status: int, reason: Reason) -> Attributes:
    """Return what is told of a request that was refused, of whose events nothing is known."""
    return {
        **_SYSTEM,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": broker,
        "cemesh.origin": "request",
        "http.request.method": "POST",
        "http.response.status_code": status,
        "url.path": f"/{broker}",
        "error.type": reason,
    }


def of_delivery(name: str, type: str, attempt: Attempt) -> Attributes:
    """Return what is told of any part of a delivery."""
    return {
        **_of_operation(name, type, attempt.broker, attempt.event),
        "messaging.destination.subscription.name": attempt.trigger,
        "cemesh.broker": attempt.broker,
        "cemesh.trigger": attempt.trigger,
    }


def of_attempt(name: str, attempt: Attempt) -> Attributes:
    """Return what is told of an attempt."""
    return {
        **of_delivery(name, "send", attempt),
        **_of_destination(attempt.destination),
        **_of_answer(attempt.answer),
        "cemesh.attempt.to": attempt.to,
        "cemesh.attempt.number": attempt.number,
        "cemesh.attempt.verdict": attempt.verdict.value,
        "cemesh.attempt.last": attempt.exhausted,
    }


def of_batch(trigger: str, count: int, answer: Answer) -> Attributes:
    """Return what is told of a request with several events."""
    return {
        **_SYSTEM,
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": count,
        "messaging.destination.subscription.name": trigger,
        "cemesh.trigger": trigger,
        "http.request.method": "POST",
        **_of_answer(answer),
    }


def _of_operation(name: str, type: str, broker: str, event: Event) -> Attributes:
    attributes = event.attributes
    return {
        **_SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": type,
        "messaging.destination.name": broker,
        "messaging.message.id": event.id,
        "messaging.message.body.size": len(event.data or b""),
        **{told: attributes[name] for name, told in _OF_EVENTS.items() if name in attributes},
    }


def _of_destination(url: str) -> Attributes:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return {}
    if parts.scheme not in _PORTS or host is None or port is None:
        return {"cemesh.destination.scheme": parts.scheme}
    return {"http.request.method": "POST", "server.address": host, "server.port": port}


def _of_answer(answer: Answer) -> Attributes:
    told: dict[str, str | int | bool] = {}
    if answer.status is not None:
        told["http.response.status_code"] = answer.status
    if isinstance(answer, Refused):
        told["error.type"] = "no_answer" if answer.status is None else str(answer.status)
        if answer.untried:
            told["error.type"] = "untried"
    return told
