"""Asks a server again and again, and emits what is new in its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import ClassVar, Final

from broker.connections.web import phrase
from broker.errors import InvalidEvent, UnsupportedContent
from broker.passing import pass_on
from broker.ports import Emitter, SourceContext
from broker.urls import without_credentials
from sources.httppoller.client import Client, next_page, retry_after, unusable
from sources.httppoller.events import Item, event_of, events_in, items_in
from sources.httppoller.exchange import Response
from sources.httppoller.memory import MOST, Memory
from sources.httppoller.spec import HttpPollerSpec

_TOGETHER: Final = 200
_LONGEST_WAIT: Final = timedelta(days=1)

_OK, _NO_CONTENT, _NOT_MODIFIED = 200, 204, 304
_LATER: Final = frozenset({429, 503})


class HttpPollerSource:
    """Emits the body of an answer whenever it is another one, or the elements that are new in it.

    What was seen is saved once it is durable: after a crash some of it comes again, with the same
    id, and a restart repeats nothing.
    """

    Spec: ClassVar = HttpPollerSpec
    alone: ClassVar = True

    def __init__(self, spec: HttpPollerSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._client = Client(spec)

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where there is no answer of use."""
        memory = Memory(self._spec, await self._context.load())
        while True:
            pause = await self._poll(memory, emit)
            await asyncio.sleep(pause.total_seconds())

    async def _poll(self, memory: Memory, emit: Emitter) -> timedelta:
        """Ask once, and return how long to wait until it is asked again."""
        # The first page says nothing of whether the others are what they were.
        conditions = memory.conditions() if self._spec.max_pages == 1 else ()
        response = await self._client.get(self._client.url, conditions)
        if response.status in _LATER:
            return self._later(response)
        if response.status not in (_NO_CONTENT, _NOT_MODIFIED):
            self._check(response)
            if self._spec.items is None:
                await self._take_body(response, memory, emit)
            else:
                await self._take_items(response, memory, emit)
            if self._spec.max_pages == 1 and memory.validated(response):
                await self._context.save(memory.stored())
        self._context.healthy()
        return self._spec.interval

    def _check(self, response: Response) -> None:
        if response.status != _OK:
            raise unusable(response.url, phrase(response.status))
        encoding = response.header("content-encoding") or "identity"
        if encoding.lower() != "identity":
            raise unusable(response.url, f"its answer is in {encoding}, which was not asked for")

    def _later(self, response: Response) -> timedelta:
        asked = retry_after(response) or timedelta(0)
        wait = max(self._spec.interval, min(asked, _LONGEST_WAIT))
        self._context.unhealthy(
            f"{without_credentials(self._spec.url)}: {phrase(response.status)}; it is asked again "
            f"in {wait.total_seconds():g} s"
        )
        return wait

    # --- what is new -----------------------------------------------------------------------

    async def _take_body(self, response: Response, memory: Memory, emit: Emitter) -> None:
        digest = sha256(response.body).hexdigest()
        if digest == memory.body:
            return
        try:
            found = events_in(response)
            if found is None:
                event = event_of(response, self._context.uri, memory.changes + 1)
                found = [Item(key=b"", id=event.id, data=response.body, event=event)]
        except (InvalidEvent, UnsupportedContent) as error:
            found = [Item(key=b"", id=digest, data=response.body, flaw=str(error))]
        new = _new(found, memory)
        await self._store(new, emit)
        memory.see(each.key for each in found if each.key)
        memory.body = digest
        memory.changes += 1
        await self._context.save(memory.stored())

    async def _take_items(self, response: Response, memory: Memory, emit: Emitter) -> None:
        count, page = 0, response
        for number in range(1, self._spec.max_pages + 1):
            count += await self._take_page(page, memory, emit, after=count)
            following = next_page(page)
            if following is None or number == self._spec.max_pages:
                return
            page = await self._client.get(following)
            self._check(page)

    async def _take_page(self, page: Response, memory: Memory, emit: Emitter, *, after: int) -> int:
        try:
            found = items_in(page.body, self._spec, self._context.uri)
        except ValueError as error:
            raise unusable(page.url, str(error)) from error
        if after + len(found) > MOST:
            why = f"it lists more than {MOST:,} elements, of which no more can be known again"
            raise unusable(page.url, f"{why}; let 'url' or 'maxPages' ask for fewer")
        new = _new(found, memory)
        for at in range(0, len(new), _TOGETHER):
            await self._store(new[at : at + _TOGETHER], emit)
        memory.see(each.key for each in found)
        if new:
            await self._context.save(memory.stored())
        return len(found)

    # --- what is stored --------------------------------------------------------------------

    async def _store(self, items: Sequence[Item], emit: Emitter) -> None:
        """Emit what is an event, and reject what is none."""
        for each in items:
            if each.event is None:
                await self._reject(each, each.flaw)
        sound = [(each, each.event) for each in items if each.event is not None]
        await pass_on(sound, emit, lambda item, error: self._reject(item, str(error)))

    async def _reject(self, item: Item, why: str) -> None:
        await self._context.reject(
            f"{without_credentials(self._spec.url)}: {why}", id=item.id, data=item.data
        )


def _new(found: Sequence[Item], memory: Memory) -> list[Item]:
    """Return what was not seen before, each once."""
    new: dict[bytes, Item] = {}
    for each in found:
        if not memory.knows(each.key):
            new.setdefault(each.key, each)
    return [*new.values()]
