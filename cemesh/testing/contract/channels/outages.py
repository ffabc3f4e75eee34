"""What holds while the store is gone, and after."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.errors import ChannelUnavailable
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import A_WHILE, SOON, TRIGGER, WHY, event, events, ids, reading


async def test_append_refuses_while_the_store_is_gone_and_works_again_after(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1")])
        await channel.check()
        with harness.outage():
            with pytest.raises(ChannelUnavailable):
                await channel.append([event("refused")])
            with pytest.raises(ChannelUnavailable):
                await channel.check()
        async with asyncio.timeout(SOON):
            while True:
                try:
                    await channel.append([event("2")])
                    break
                except ChannelUnavailable:
                    await asyncio.sleep(0.05)

        await channel.check()
        assert ids(await reader.take(2)) == ["1", "2"]
        assert await reader.nothing()


async def test_the_books_are_told_while_the_store_is_gone(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append(events(3))
        await reader.settle(await reader.claim())
        before = (await channel.books())[TRIGGER]
        assert await channel.accepted() == 3
        with harness.outage():
            assert (await channel.books())[TRIGGER] == before
            assert (before.matched, before.delivered, before.waiting) == (3, 1, 2)
            assert await channel.accepted() == 3


async def test_what_is_settled_while_the_store_is_gone_is_stored_when_it_is_back(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append(events(4))
        claims = await reader.take(4)
        with harness.outage():
            await reader.settle(claims[0])
            reader.cursor.bury(claims[1], WHY)
            reader.cursor.defer(claims[2], timedelta(0), attempts=1, condemned=None)
            await asyncio.sleep(A_WHILE)
        again = await reader.claim()
        assert (again.event.id, again.attempts) == (claims[2].event.id, 1)

    async with running(harness) as channel, reading(channel) as reader:
        assert ids(await reader.take(2)) == ids(claims[2:])
        assert [letter.event.id for letter in await channel.dead_letters.list()] == [
            claims[1].event.id
        ]
        assert await reader.nothing()
