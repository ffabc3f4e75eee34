"""What a channel counts for each trigger."""

from __future__ import annotations

from datetime import timedelta

from broker.filters import Exact
from broker.ports import Outcome
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import TRIGGER, WHY, event, events, reading


async def test_the_books_balance_at_every_step(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, window=10) as reader:
        await channel.append([*events(5), event("no", "other")])
        await channel.append(events(1_500, start=100))
        claims = await reader.take(5)
        await reader.settle(claims[0])
        reader.cursor.settle(claims[1], Outcome.DEAD_LETTERED)
        reader.cursor.bury(claims[2], WHY)
        reader.cursor.defer(claims[3], timedelta(hours=1), attempts=1, condemned=None)

        books = (await channel.books())[TRIGGER]
        assert (books.matched, books.delivered, books.dead_lettered) == (1_506, 1, 2)
        assert (books.waiting, books.unaccounted) == (1_503, 0)
        assert books.oldest_waiting is not None

    async with running(harness) as channel, reading(channel, window=2_000) as reader:
        books = (await channel.books())[TRIGGER]
        assert (books.matched, books.delivered, books.dead_lettered) == (1_506, 1, 2)
        assert (books.waiting, books.unaccounted) == (1_503, 0)

        await reader.settle(*await reader.take(1_502))
        books = (await channel.books())[TRIGGER]
        assert (books.delivered, books.waiting, books.unaccounted) == (1_503, 1, 0)


async def test_the_books_balance_after_a_trigger_was_away(harness: Harness) -> None:
    orders = Exact((("type", "order.created"),))
    async with running(harness) as channel:
        async with reading(channel, window=5):
            await channel.append(events(1_200))
        await channel.append([*events(300, start=2_000), event("x", "other")])
        async with reading(channel, window=5, filter=orders):
            await channel.append(events(10, start=4_000))
        async with reading(channel, window=5_000, filter=orders) as reader:
            await reader.settle(*await reader.take(1_510))
            assert await reader.nothing()

            books = (await channel.books())[TRIGGER]
            assert (books.matched, books.delivered) == (1_510, 1_510)
            assert (books.waiting, books.unaccounted) == (0, 0)
            assert books.oldest_waiting is None
