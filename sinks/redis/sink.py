"""Adds events to a stream, many in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Annotated, Final, Self

from pydantic import Field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.codecs.json import encode_event
from broker.connections.redis import EVENT_FIELD, RedisSpec, StreamName, connected, in_time, said
from broker.event import Event
from broker.ports import Accepted, Answer, Refused

_TOGETHER: Final = 500
_BYTES_TOGETHER: Final = 4 << 20
"""What one round trip takes, at most: so many events, and so many bytes if they are several."""

_REPLICATES_WITHIN: Final = 2000
"""Milliseconds that Redis waits for its replicas: less than it is waited for itself."""


class RedisStreamSinkSpec(RedisSpec):
    """Which stream the events are added to, and what is done for them to stay there.

    Trimmed to about ``max_length`` entries, and only then taken when so many replicas have it as
    ``wait_replicas`` says.
    """

    stream: StreamName
    max_length: Annotated[int, Field(ge=1)] | None = None
    wait_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None


class RedisStreamSink:
    """Adds an entry to a stream for each event: as durable as that Redis keeps what it takes."""

    Spec = RedisStreamSinkSpec

    def __init__(self, spec: RedisStreamSinkSpec) -> None:
        self._spec = spec
        trim = () if spec.max_length is None else ("MAXLEN", "~", spec.max_length)
        self._add = ("XADD", spec.stream, *trim, "*", EVENT_FIELD)
        self._pending: list[tuple[bytes, asyncio.Future[Answer]]] = []
        self._some = asyncio.Event()
        self._within = AsyncExitStack()

    async def __aenter__(self) -> Self:
        client = await self._within.enter_async_context(connected(self._spec))
        self._writing = asyncio.create_task(self._write(client))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writing.cancel()
        await asyncio.wait([self._writing])
        await self._within.aclose()

    async def attempt(self, event: Event) -> Answer:
        """Return once Redis has the entry, and the replicas that are asked for have it, too."""
        if self._writing.done():
            self._writing.result()  # it ends by a bug alone, which is told
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending.append((encode_event(event), answered))
        self._some.set()
        return await answered

    async def _write(self, client: Redis) -> None:
        while True:
            await self._some.wait()
            batch = self._next_batch()
            if not self._pending:
                self._some.clear()
            if not batch:
                continue
            answers: Sequence[Answer]
            try:
                answers = await self._answers(client, [text for text, _ in batch])
            except RedisError as error:
                answers = [Refused(reason=said(error, self._spec))] * len(batch)
            for (_, waits), answer in zip(batch, answers, strict=True):
                if not waits.done():
                    waits.set_result(answer)

    def _next_batch(self) -> Sequence[tuple[bytes, asyncio.Future[Answer]]]:
        """Take what one round trip takes of what waits, but for what its trigger has given up."""
        batch: list[tuple[bytes, asyncio.Future[Answer]]] = []
        size = taken = 0
        for text, waits in self._pending[:_TOGETHER]:
            size += len(text)
            if batch and size > _BYTES_TOGETHER:
                break
            taken += 1
            if not waits.done():
                batch.append((text, waits))
        del self._pending[:taken]
        return batch

    async def _answers(self, client: Redis, texts: Sequence[bytes]) -> Sequence[Answer]:
        pipeline = client.pipeline(transaction=False)
        for text in texts:
            pipeline.execute_command(*self._add, text)
        wanted = self._spec.wait_replicas
        if wanted is not None:
            pipeline.execute_command("WAIT", wanted, _REPLICATES_WITHIN)
        results: list[object] = await in_time(pipeline.execute(raise_on_error=False))
        short: Answer | None = None
        if wanted is not None:
            short = self._short(results.pop(), wanted)
        return [self._answer(each) or short or Accepted() for each in results]

    def _answer(self, result: object) -> Answer | None:
        if isinstance(result, RedisError):
            return Refused(reason=said(result, self._spec))
        return None

    def _short(self, result: object, wanted: int) -> Answer | None:
        """Return the refusal of what too few replicas have."""
        if isinstance(result, int):
            if result >= wanted:
                return None
            why = f"{result} of {wanted} replicas have it after {_REPLICATES_WITHIN} ms"
            return Refused(reason=why)
        return self._answer(result)
