"""Reads a stream as a consumer of a group, and emits what it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final

from redis.exceptions import RedisError

from broker.connections.redis import code_of, connected, said
from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, Json, SourceContext
from sources.redis.entries import Entry, event_of
from sources.redis.group import BEGINNING, Batch, Group
from sources.redis.spec import RedisStreamSpec

_log: Final = logging.getLogger("cemesh.sources.redis")

_LOOKS_EVERY: Final = 3.0
_CLAIMS_WITHIN: Final = timedelta(seconds=30)
"""How often what others have left is looked for, at least, however long that has to be left."""

_GONE: Final = frozenset({"NOGROUP", "UNBLOCKED"})


class RedisStreamSource:
    """Emits the entries of a stream that its consumer group gives to this process.

    Entries are acknowledged once their events are durable: what was emitted and not yet
    acknowledged comes again after a crash, with the same id, to this process or to another.
    """

    Spec: ClassVar = RedisStreamSpec

    def __init__(self, spec: RedisStreamSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._group_name = spec.group_of(context.namespace, context.name)

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where Redis does not let us read."""
        try:
            async with connected(self._spec) as client:
                group = Group(client, self._spec.stream, self._group_name)
                await self._begin(group)
                self._context.healthy()
                watching = asyncio.create_task(self._watch(group))
                try:
                    await self._read(group, emit, until=watching)
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])
        except RedisError as error:
            why = said(error, self._spec)
            if code_of(error) in _GONE:
                why = (
                    f"the stream '{self._spec.stream}' or its group '{self._group_name}' was "
                    "deleted; the group is made again"
                )
            raise UpstreamUnavailable(why) from error

    async def _begin(self, group: Group) -> None:
        """Have a group. One that was there once begins again where it first began.

        Where that is, is saved before the group is made: what is added from then on is read,
        whatever becomes of this process and of the group.
        """
        stored: Mapping[str, str] = await self._context.load() or {}
        key = f"{self._group_name} {self._spec.stream}"
        place, end = await group.place(), await group.end()
        begins = stored.get(key)
        if begins is None:
            begins = place or (end if self._spec.start_at == "end" else BEGINNING)
            wanted: dict[str, Json] = {key: begins}
            await self._context.save(wanted)
        elif _order(end) < _order(begins):
            begins = BEGINNING  # of another stream, which has the name of a deleted one
        if await group.make(begins) and key in stored:
            _log.warning("group made again", extra={"after": begins})

    # --- what is read ----------------------------------------------------------------------

    async def _read(self, group: Group, emit: Emitter, *, until: asyncio.Task[None]) -> None:
        while (left := await group.left()).ids:
            await self._pass_on(left, group, emit)
        clock = asyncio.get_running_loop().time
        every = min(self._spec.claim_after, _CLAIMS_WITHIN).total_seconds()
        claims_at = clock()
        while not until.done():
            if clock() >= claims_at:
                await self._pass_on(await group.claimed(self._spec.claim_after), group, emit)
                if group.claims_more:
                    continue
                claims_at = clock() + every
            await self._pass_on(await group.new(), group, emit)
        until.result()

    async def _pass_on(self, batch: Batch, group: Group, emit: Emitter) -> None:
        if not batch.ids:
            return
        events: list[tuple[Entry, Event]] = []
        for entry in batch.entries:
            try:
                events.append((entry, event_of(entry, self._context.uri, self._spec.stream)))
            except InvalidEvent as error:
                await self._reject(entry, error)
        await pass_on(events, emit, self._reject)
        if batch.deleted:
            # Trimmed or deleted by others before they were emitted: nobody has them any more.
            ids = f"{batch.deleted[0]} to {batch.deleted[-1]}"
            extra = {"count": len(batch.deleted), "ids": ids}
            _log.warning("entries were deleted unread", extra=extra)
        await group.acknowledge(batch.ids)

    async def _reject(self, entry: Entry, error: InvalidEvent) -> None:
        stream = self._spec.stream
        why = f"the entry {entry.id} of stream {stream}: {error}"
        await self._context.reject(why, id=f"{stream}/{entry.id}", data=entry.content())

    # --- what operators are told -----------------------------------------------------------

    async def _watch(self, group: Group) -> None:
        while True:
            try:
                self._context.lag(await group.waiting())
            except RedisError as error:
                # Reading fails, too, unless it waits for the broker's store: then nobody else says.
                self._context.unhealthy(said(error, self._spec))
            else:
                self._context.healthy()
            await asyncio.sleep(_LOOKS_EVERY)


def _order(id: str) -> tuple[int, int]:
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence or 0)
