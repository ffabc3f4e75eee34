"""What the tests of a channel read, write and compare with."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from broker.event import Event
from broker.filters import EVERYTHING, Filter
from broker.ports import Channel, Claim, Cursor, Outcome, Refusal

SOON = 30.0
"""Seconds within which whatever is to happen must have happened."""

A_WHILE = 0.15
"""Seconds in which something that must not happen would have happened."""

ROUNDED = timedelta(milliseconds=1)
"""What a store that counts in milliseconds may be off by."""

TRIGGER = "default/audit"

WHY = Refusal(
    destination="http://127.0.0.1:9/",
    reason="500 Internal Server Error",
    status=500,
    body=b'{"no": \xff}',
    attempts=3,
)


def event(id: str, type: str = "order.created", data: bytes | None = b"{}", hops: int = 0) -> Event:
    return Event.checked(
        {"specversion": "1.0", "id": id, "source": "/shop", "type": type}, data, hops=hops
    )


def events(count: int, start: int = 0) -> list[Event]:
    return [event(str(number)) for number in range(start, start + count)]


class Reader:
    """A subscription, read claim by claim."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._claims = cursor.claims()
        self._next: asyncio.Task[Claim] | None = None

    async def claim(self) -> Claim:
        async with asyncio.timeout(SOON):
            return await self._take()

    async def take(self, count: int) -> list[Claim]:
        return [await self.claim() for _ in range(count)]

    async def nothing(self) -> bool:
        """Whether no claim comes for a while."""
        try:
            async with asyncio.timeout(A_WHILE):
                claim = await asyncio.shield(self._pending())
        except TimeoutError:
            return True
        raise AssertionError(f"an unexpected claim on event {claim.event.id}")

    async def settle(self, *claims: Claim) -> None:
        for claim in claims:
            self.cursor.settle(claim, Outcome.DELIVERED)

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])

    async def _take(self) -> Claim:
        claim = await asyncio.shield(self._pending())
        self._next = None
        return claim

    def _pending(self) -> asyncio.Task[Claim]:
        if self._next is None:
            self._next = asyncio.create_task(self._advance())
        return self._next

    async def _advance(self) -> Claim:
        async for claim in self._claims:
            return claim
        raise AssertionError("the claims have ended")


@asynccontextmanager
async def reading(
    channel: Channel,
    trigger: str = TRIGGER,
    *,
    filter: Filter = EVERYTHING,
    window: int = 100,
    ordered: bool = False,
) -> AsyncIterator[Reader]:
    async with channel.subscribe(trigger, filter=filter, window=window, ordered=ordered) as cursor:
        reader = Reader(cursor)
        try:
            yield reader
        finally:
            await reader.close()


def ids(claims: Sequence[Claim]) -> list[str]:
    return sorted((claim.event.id for claim in claims), key=lambda each: (len(each), each))


def numbers(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def keyed(*ids: str) -> list[Event]:
    """Return events whose ids tell their keys: ``a7`` is of the key ``a``, ``7`` of none."""
    return [_keyed(each, re.sub(r"[0-9]+$", "", each)) for each in ids]


def _keyed(id: str, key: str) -> Event:
    attributes = {**event(id).attributes, "partitionkey": key}
    return Event.checked(attributes, b"{}") if key else event(id)
