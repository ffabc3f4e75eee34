"""A URL that takes requests of a template, as a sink's destination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from broker.codecs.json import decode_event
from broker.event import Event
from sinks.webhook import WebhookSink, WebhookSinkSpec
from tests.services.subscribers import Request, Subscriber

_NAMES = ("specversion", "id", "source", "subject", "type", "time", "datacontenttype")


class RequestsOfATemplate:
    """What ``subscriber`` takes; while it is away, it answers 503."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._taken: list[Event] = []
        self._away = False
        members = ", ".join(f'"{name}": {{{name}}}' for name in (*_NAMES, "partitionkey", "data"))
        self.sink: object = WebhookSink
        self.spec: object = WebhookSinkSpec.model_validate(
            {
                "url": subscriber.answers_as_told("/hook", self._answer),
                "template": f"{{{members}}}",
            }
        )

    def _answer(self, request: Request) -> int:
        if self._away:
            return 503
        self._taken.append(decode_event(request.body))
        return 204

    async def arrived(self, count: int) -> Sequence[Event]:
        return self._taken

    @contextmanager
    def outage(self) -> Iterator[None]:
        self._away = True
        yield
        self._away = False
