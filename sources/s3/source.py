"""Walks through a bucket again and again, and emits what is new in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar, Final, Protocol

from broker.connections.s3 import FAULTS, Bucket, Listed, S3Error, connected, said
from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, SourceContext
from sources.s3.cleared import GONE, Cleared
from sources.s3.kept import Kept
from sources.s3.lines import Line, Lines
from sources.s3.objects import events_of, line_of, reference_to
from sources.s3.spec import S3Spec
from sources.s3.together import together

_TOGETHER: Final = 500
_READ_TOGETHER: Final = 16
_BYTES_TOGETHER: Final = 8 << 20
"""What is emitted together: events at most, or objects that are read, and bytes if several."""

_UNREADABLE: Final = frozenset({"InvalidObjectState"})
"""What S3 says of an object in an archive, until somebody brings it back from there."""


class _Book(Protocol):
    """Knows which objects are emitted already, and sees to it that it is known after a crash."""

    after: str | None
    trouble: str | None

    async def restore(self) -> None: ...

    async def begin(self, now: datetime) -> None: ...

    def is_new(self, listed: Listed) -> bool: ...

    def leave(self, listed: Listed) -> None: ...

    async def emitted(self, objects: Sequence[Listed]) -> None: ...

    async def passed(self, objects: Sequence[Listed]) -> None: ...

    async def end(self) -> None: ...


class S3Source:
    """Emits the objects that come to a bucket, or change in it.

    What was emitted, and is not yet saved or cleared away, comes again after a crash, with the same
    id.
    """

    Spec: ClassVar = S3Spec
    alone: ClassVar = True

    def __init__(self, spec: S3Spec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where S3 does not let us read."""
        try:
            async with connected(self._spec) as bucket:
                book = self._book(bucket)
                await book.restore()
                run = _Run(bucket, book, self._spec, self._context, emit)
                while True:
                    await run.walk()
                    await asyncio.sleep(self._spec.interval.total_seconds())
        except (S3Error, *FAULTS) as error:
            raise UpstreamUnavailable(said(error, self._spec)) from error

    def _book(self, bucket: Bucket) -> _Book:
        if self._spec.afterwards != "keep":
            return Cleared(bucket, self._spec)
        from_end = self._spec.start_at == "end"
        return Kept(self._context, look_back=self._spec.look_back, from_end=from_end)


class _Run:
    """One run of the source, over one connection."""

    def __init__(
        self, bucket: Bucket, book: _Book, spec: S3Spec, context: SourceContext, emit: Emitter
    ) -> None:
        self._bucket = bucket
        self._book = book
        self._spec = spec
        self._context = context
        self._emit = emit

    async def walk(self) -> None:
        """Emit all that is new, page by page."""
        token: str | None = None
        begun = False
        while token is not None or not begun:
            page = await self._bucket.list(self._spec.prefix, after=self._book.after, token=token)
            if not begun:
                await self._book.begin(page.now)
                begun = True
            self._tell()
            new = [each for each in page.objects if self._is_new(each)]
            self._context.lag(len(new))
            for portion in self._portions(new):
                await self._pass_on(portion)
            await self._book.passed(page.objects)
            token = page.token
        await self._book.end()
        self._tell()
        self._context.lag(0)

    def _tell(self) -> None:
        if self._book.trouble is None:
            self._context.healthy()
        else:
            self._context.unhealthy(self._book.trouble)

    def _is_new(self, listed: Listed) -> bool:
        return self._spec.wants(listed.key) and self._book.is_new(listed)

    def _portions(self, objects: Sequence[Listed]) -> Iterator[Sequence[Listed]]:
        most = {"reference": _TOGETHER, "data": _READ_TOGETHER, "lines": 1}[self._spec.content]
        portion: list[Listed] = []
        for each in objects:
            size = sum(one.size for one in portion) + each.size
            full = len(portion) == most
            if portion and (full or (self._spec.content == "data" and size > _BYTES_TOGETHER)):
                yield portion
                portion = []
            portion.append(each)
        if portion:
            yield portion

    async def _pass_on(self, objects: Sequence[Listed]) -> None:
        do = {"reference": self._refer_to, "data": self._read, "lines": self._read_lines}
        await self._book.emitted(await do[self._spec.content](objects))

    # --- what becomes of an object: each returns those of which all is emitted or rejected ----

    async def _refer_to(self, objects: Sequence[Listed]) -> Sequence[Listed]:
        events: list[tuple[Listed, Event]] = []
        for each in objects:
            try:
                events.append((each, reference_to(each, self._spec, self._context.uri)))
            except InvalidEvent as error:
                await self._reject(each, error)
        await self._store(events)
        return objects

    async def _read(self, objects: Sequence[Listed]) -> Sequence[Listed]:
        found = await together(map(self._events_of, objects))
        await self._store([each for events in found for each in events or ()])
        return [each for each, events in zip(objects, found, strict=True) if events is not None]

    async def _events_of(self, listed: Listed) -> Sequence[tuple[Listed, Event]] | None:
        """Return the events of an object, or None where it is not what it was, or too large."""
        if listed.size > self._spec.max_bytes:
            why = f"its {listed.size:,} bytes are more than maxBytes, {self._spec.max_bytes:,}"
            await self._reject(listed, InvalidEvent(why))
            self._book.leave(listed)
            return None
        try:
            async with self._bucket.open(listed) as body:
                headers, data = body.headers, await body.whole()
        except S3Error as error:
            await self._cannot_be_read(listed, error)
            return None
        try:
            events = events_of(listed, headers, data, self._spec, self._context.uri)
        except InvalidEvent as error:
            await self._reject(listed, error, data)
            return []
        return [(listed, each) for each in events]

    async def _read_lines(self, objects: Sequence[Listed]) -> Sequence[Listed]:
        return [each for each in objects if await self._lines_of(each)]

    async def _lines_of(self, listed: Listed) -> bool:
        """Emit the lines of an object; return False where it is not what it was."""
        lines = Lines(self._spec.max_bytes)
        try:
            async with self._bucket.open(listed) as body:
                async for piece in body.pieces():
                    await self._store_lines(list(lines.take(piece)), listed)
        except S3Error as error:
            await self._cannot_be_read(listed, error)
            return False
        await self._store_lines(list(lines.finish()), listed)
        return True

    async def _store_lines(self, lines: Sequence[Line], listed: Listed) -> None:
        events: list[tuple[Listed, Event]] = []
        for line in lines:
            try:
                events.append((listed, line_of(line, listed, self._spec, self._context.uri)))
            except InvalidEvent as error:
                why = f"line {line.number} of the object {listed.key}: {error}"
                place = f"{listed.version}#{line.number}"
                await self._context.reject(why, id=place, data=line.data)
        for at in range(0, len(events), _TOGETHER):
            await self._store(events[at : at + _TOGETHER])

    async def _cannot_be_read(self, listed: Listed, error: S3Error) -> None:
        if error.code in _UNREADABLE:
            await self._reject(listed, InvalidEvent(str(error)))
            self._book.leave(listed)
        elif error.code not in GONE:
            raise error

    async def _store(self, taken: Sequence[tuple[Listed, Event]]) -> None:
        await pass_on([(each, each[1]) for each in taken], self._emit, self._refused)

    async def _refused(self, taken: tuple[Listed, Event], error: InvalidEvent) -> None:
        listed, event = taken
        await self._reject(listed, error, event.data, id=event.id)

    async def _reject(
        self, listed: Listed, error: InvalidEvent, data: bytes | None = None, id: str | None = None
    ) -> None:
        why = f"the object {listed.key}: {error}"
        await self._context.reject(why, id=id or listed.version, data=data)
