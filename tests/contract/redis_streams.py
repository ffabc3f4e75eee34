"""Streams of Redis as others see them: for tests of what reads and writes them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

from broker.codecs.json import decode_event
from broker.connections.redis import EVENT_FIELD, RedisSpec, connected
from broker.event import Event
from cemesh.testing import RunningSource, running
from sinks.redis import RedisStreamSink, RedisStreamSinkSpec
from sources.redis import RedisStreamSource, RedisStreamSpec
from tests.services.relay import Relay

Fields = Mapping[str | bytes, str | bytes]


@asynccontextmanager
async def client(url: str, **spec: object) -> AsyncIterator[Any]:
    """Yield a client that answers with what Redis does."""
    async with connected(RedisSpec.model_validate({"url": url, **spec})) as found:
        yield found


async def ask(url: str, *command: str | bytes | int) -> Any:  # noqa: ANN401 - Redis's answer
    async with client(url) as redis:
        return await redis.execute_command(*command)


async def add(url: str, stream: str, *entries: Fields, id: str = "*") -> list[str]:
    """Add the entries, and return their ids."""
    async with client(url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for fields in entries:
            words = [word for field in fields.items() for word in field]
            pipeline.execute_command("XADD", stream, id, *words)
        return [each.decode() for each in await pipeline.execute()]


def numbered(*numbers: int) -> list[Fields]:
    return [{"n": str(number)} for number in numbers]


async def pending(url: str, stream: str, group: str = "g") -> int:
    """Return how many entries the group has given out that are not acknowledged."""
    found: int = (await ask(url, "XPENDING", stream, group))[0]
    return found


async def until_acknowledged(url: str, stream: str, group: str = "g") -> None:
    """Return once the group has read all, and acknowledged it."""
    async with asyncio.timeout(30):
        while True:
            for answer in await ask(url, "XINFO", "GROUPS", stream):
                found = dict(zip(answer[::2], answer[1::2], strict=True))
                if found[b"name"] == group.encode() and found[b"lag"] == found[b"pending"] == 0:
                    return
            await asyncio.sleep(0.02)


async def events_in(url: str, stream: str) -> Sequence[Event]:
    entries = await ask(url, "XRANGE", stream, "-", "+")
    return [decode_event(dict(zip(f[::2], f[1::2], strict=True))[EVENT_FIELD]) for _, f in entries]


def read(
    url: str, stream: str, *, name: str = "orders", **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source on the stream, as the group ``g``, from the beginning unless told otherwise."""
    asked = {"url": url, "stream": stream, "group": "g", "startAt": "beginning", **spec}
    return running(RedisStreamSource, RedisStreamSpec.model_validate(asked), name=name)


class EntriesOfAStream:
    """A stream that gets an entry for each thing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stream = f"upstream-{uuid.uuid4()}"
        self.source: object = RedisStreamSource
        self.spec: object = RedisStreamSpec.model_validate(
            {"url": url, "stream": self._stream, "startAt": "beginning"}
        )

    async def bring(self, number: int) -> None:
        await add(self._url, self._stream, *numbered(number))

    def number_of(self, event: Event) -> int:
        return int(json.loads(event.data or b"")["n"])


class StreamOfRedis:
    """A stream, and a way to it that can be cut."""

    def __init__(self, url: str, relay: Relay) -> None:
        self._url = url
        self._relay = relay
        self._stream = f"downstream-{uuid.uuid4()}"
        self.sink: object = RedisStreamSink
        self.spec: object = RedisStreamSinkSpec.model_validate(
            {"url": relay.in_url(url), "stream": self._stream}
        )

    async def arrived(self, count: int) -> Sequence[Event]:
        return await events_in(self._url, self._stream)

    def outage(self) -> AbstractContextManager[None]:
        return self._relay.cut()
