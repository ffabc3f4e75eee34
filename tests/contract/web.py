"""Servers on loopback that a HttpPollerSource asks, and that a WebSocketSource listens to."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from broker.event import Event
from cemesh.testing import RunningSource, running
from sources.httppoller import HttpPollerSource, HttpPollerSpec
from tests.services.subscribers import Answer, Request, Subscriber, reply

JSON = {"Content-Type": "application/json"}


def poll(
    url: str, *, name: str = "orders", **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source that asks every 20 ms unless told otherwise."""
    asked = HttpPollerSpec.model_validate({"url": url, "interval": "PT0.02S", **spec})
    return running(HttpPollerSource, asked, name=name)


def listed(*numbers: int) -> bytes:
    return json.dumps({"data": {"list": [{"id": number} for number in numbers]}}).encode()


def with_etag(body: Callable[[], bytes]) -> Callable[[Request], Answer]:
    """Answer with a body, as servers do that know by a tag which one the client has."""

    def answer(request: Request) -> Answer:
        now = body()
        tag = f'"{hash(now)}"'
        if request.header("If-None-Match") == tag:
            return reply(304, {"ETag": tag})
        return reply(200, {**JSON, "ETag": tag}, now)

    return answer


class ElementsOfAList:
    """A list behind HTTP that gets an element for each thing."""

    def __init__(self, server: Subscriber) -> None:
        self._numbers: list[int] = []
        url = server.answers("/list", with_etag(lambda: listed(*self._numbers)))
        self.source: object = HttpPollerSource
        self.spec: object = HttpPollerSpec.model_validate(
            {"url": url, "interval": "PT0.02S", "items": "data.list", "itemId": "id"}
        )

    async def bring(self, number: int) -> None:
        self._numbers.append(number)

    def number_of(self, event: Event) -> int:
        return int(json.loads(event.data or b"")["id"])
