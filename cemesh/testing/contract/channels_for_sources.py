"""What a channel does for sources: their checkpoints, what they reject, and being alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from broker.errors import ChannelFull, ChannelUnavailable
from broker.ports import Channel, DeadLetter, Refusal
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import SOON, TRIGGER, event, reading

SOURCE = "JsonlSource default/orders"
WHY = Refusal(
    destination=SOURCE, reason="not JSON at character 1", status=None, body=b"\xff{", attempts=1
)
LONGEST = bytes(range(256)) * 256
GIVES_WAY = 45
"""Seconds: 30 as the channel promises, and what a busy machine takes."""


async def test_a_checkpoint_is_what_was_put_last_also_after_a_restart(harness: Harness) -> None:
    async with running(harness) as channel:
        assert await channel.checkpoints.get(SOURCE) is None
        await channel.checkpoints.put(SOURCE, b"1")
        assert await channel.checkpoints.get(SOURCE) == b"1"
        await channel.checkpoints.put(SOURCE, b"2")
        await channel.checkpoints.put("JsonlSource default/others", LONGEST)
        await channel.checkpoints.put("PingSource default/orders", b"")

        assert await channel.checkpoints.get(SOURCE) == b"2"
    async with running(harness) as channel:
        assert await channel.checkpoints.get(SOURCE) == b"2"
        assert await channel.checkpoints.get("JsonlSource default/others") == LONGEST
        assert await channel.checkpoints.get("PingSource default/orders") == b""
        assert await channel.checkpoints.get("JsonlSource default/order") is None


async def test_many_checkpoints_one_after_the_other_leave_the_last(harness: Harness) -> None:
    async with running(harness) as channel:
        for number in range(100):
            await channel.checkpoints.put(SOURCE, b"%d" % number)
    async with running(harness) as channel:
        assert await channel.checkpoints.get(SOURCE) == b"99"


async def test_no_checkpoint_is_put_while_the_store_is_gone(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.checkpoints.put(SOURCE, b"before")
        with harness.outage(), pytest.raises(ChannelUnavailable):
            await channel.checkpoints.put(SOURCE, b"refused")
        await _until_taken(channel, b"after")

        assert await channel.checkpoints.get(SOURCE) == b"after"


async def test_a_checkpoint_changes_nothing_about_events(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1")])
        await channel.checkpoints.put(SOURCE, b"1")
        await channel.append([event("2")])

        await reader.settle(*await reader.take(2))
        books = (await channel.books())[TRIGGER]
        assert (books.matched, books.delivered, books.unaccounted) == (2, 2, 0)
        assert await channel.accepted() == 2
        assert [each.event.id for each in await channel.history()] == ["1", "2"]


async def test_what_a_source_buries_is_a_dead_letter_of_no_trigger(harness: Harness) -> None:
    given = event("1", "dev.cemesh.source.rejected", data=b"\x00not an event\xff")
    async with running(harness) as channel, reading(channel) as reader:
        await channel.bury(given, WHY)

        (letter,) = await _letters(channel, 1)
        assert (letter.trigger, letter.event, letter.why) == ("", given, WHY)
        assert await reader.nothing()
        assert (await channel.books())[TRIGGER].matched == 0
        assert await channel.accepted() == 0
    async with running(harness) as channel:
        (letter,) = await _letters(channel, 1)
        assert (letter.trigger, letter.event, letter.why) == ("", given, WHY)
        assert await channel.dead_letters.remove([letter.id]) == 1
        assert await _letters(channel, 0) == []


async def test_nothing_is_buried_while_the_store_is_gone(harness: Harness) -> None:
    async with running(harness) as channel:
        with harness.outage(), pytest.raises((ChannelUnavailable, ChannelFull)):
            await channel.bury(event("1"), WHY)


async def test_work_that_is_done_alone_ends_as_it_ends(harness: Harness) -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("done")

    async def fail() -> None:
        raise KeyError("of the work")

    async with running(harness) as channel:
        async with asyncio.timeout(GIVES_WAY):
            await channel.alone("a", work)
            with pytest.raises(KeyError, match="of the work"):
                await channel.alone("a", fail)
            await channel.alone("a", work)

        assert done == ["done", "done"]


async def test_work_that_is_cancelled_has_ended_and_may_be_begun_again(harness: Harness) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(harness) as channel, asyncio.timeout(2 * GIVES_WAY):
        for _ in range(2):
            begun.clear()
            ended.clear()
            task = asyncio.ensure_future(channel.alone("a", work))
            await begun.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert ended.is_set()


async def _until_taken(channel: Channel, place: bytes) -> None:
    async with asyncio.timeout(SOON):
        while True:
            with suppress(ChannelUnavailable):
                await channel.checkpoints.put(SOURCE, place)
                return
            await asyncio.sleep(0.05)


async def _letters(channel: Channel, count: int) -> Sequence[DeadLetter]:
    """Return the dead letters once there are so many."""
    async with asyncio.timeout(SOON):
        while len(found := await channel.dead_letters.list()) != count:
            await asyncio.sleep(0.05)
    return found
