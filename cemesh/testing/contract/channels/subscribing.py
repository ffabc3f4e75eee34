"""What a subscription is handed at a time, and how one follows another."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from broker.filters import EVERYTHING, Prefix
from broker.ports import Claim
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import (
    SOON,
    TRIGGER,
    Reader,
    event,
    events,
    ids,
    numbers,
    reading,
)

# --- the window ----------------------------------------------------------------------------


async def test_the_window_bounds_what_is_unsettled(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, window=3) as reader:
        await channel.append(events(5))
        first = await reader.take(3)
        assert await reader.nothing()

        await reader.settle(first[1])
        await reader.take(1)
        assert await reader.nothing()


async def test_a_trigger_far_behind_catches_up_and_goes_on(harness: Harness) -> None:
    got: list[Claim] = []
    async with running(harness) as channel, reading(channel, window=20) as reader:
        for start in range(0, 3_000, 500):
            await channel.append(events(500, start))
        while len(got) < 3_000:
            claim = await reader.claim()
            got.append(claim)
            await reader.settle(claim)
            if len(got) == 1_500:
                await channel.append(events(500, 3_000))
        got += await reader.take(20)
        await reader.settle(*got[-20:])
        while len(got) < 3_500:
            claim = await reader.claim()
            got.append(claim)
            await reader.settle(claim)

        assert ids(got) == numbers(3_500)
        assert await reader.nothing()


async def test_a_trigger_that_stands_still_holds_up_no_other(harness: Harness) -> None:
    async with (
        running(harness) as channel,
        reading(channel, "default/stuck", window=1),
        reading(channel, "default/good", window=10) as good,
    ):
        await channel.append(events(3_000))
        for _ in range(3_000):
            await good.settle(await good.claim())

        assert await good.nothing()


# --- coming, going, changing ---------------------------------------------------------------


async def test_a_second_subscription_takes_the_place_of_the_first(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as first:
        await channel.append([event("1"), event("2")])
        one, two = await first.take(2)
        async with reading(channel) as second:
            await channel.append([event("3")])
            assert (await second.claim()).event.id == "3"

            await first.settle(one)
            first.cursor.defer(two, timedelta(0), attempts=1, condemned=None)
            again = await second.claim()
            assert (again.event.id, again.attempts) == (two.event.id, 1)
            assert await second.nothing()


async def test_the_claims_of_a_superseded_cursor_end(harness: Harness) -> None:
    async with (
        running(harness) as channel,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=5) as first,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=5),
        asyncio.timeout(SOON),
    ):
        assert [claim async for claim in first.claims()] == []


async def test_what_a_superseded_cursor_leaves_unsettled_goes_to_its_successor(
    harness: Harness,
) -> None:
    async with running(harness) as channel:
        first = channel.subscribe(TRIGGER, filter=EVERYTHING, window=5)
        cursor = await first.__aenter__()
        await channel.append([event("1")])
        await Reader(cursor).claim()
        async with reading(channel) as second:
            assert await second.nothing()
            await first.__aexit__(None, None, None)
            assert (await second.claim()).event.id == "1"


async def test_a_changed_filter_holds_for_what_comes_after(harness: Harness) -> None:
    invoices = Prefix((("type", "invoice."),))
    async with running(harness) as channel, reading(channel):
        await channel.append([event("1")])
        async with asyncio.timeout(SOON):
            while (await channel.books())[TRIGGER].matched == 0:  # as some find out when they read
                await asyncio.sleep(0.01)
        async with reading(channel, filter=invoices) as second:
            await channel.append([event("2"), event("3", "invoice.sent")])

            assert "3" in ids(await second.take(2))  # beside "1", which matched when it came
            assert await second.nothing()


async def test_a_trigger_that_was_removed_goes_on_where_it_was(harness: Harness) -> None:
    async with running(harness) as channel:
        async with reading(channel) as reader:
            await channel.append([event("1")])
            await reader.settle(await reader.claim())
        await channel.unsubscribe(TRIGGER)
        await channel.append([event("2")])

    async with running(harness) as channel:
        await channel.append([event("3")])
        async with reading(channel) as reader:
            await channel.append([event("4")])
            assert ids(await reader.take(3)) == ["2", "3", "4"]
            assert await reader.nothing()


async def test_a_trigger_that_returns_is_not_given_again_what_was_settled_before_a_restart(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("0")])
        await reader.settle(await reader.claim())

    async with running(harness) as channel:
        async with reading(channel) as reader:
            await channel.append([event("1")])
            await reader.settle(await reader.claim())
        await channel.unsubscribe(TRIGGER)
        await channel.append([event("2")])
        async with reading(channel) as reader:
            await channel.append([event("3")])
            assert sorted(ids(await reader.take(2))) == ["2", "3"]
            assert await reader.nothing()


async def test_the_triggers_that_have_a_place_are_known_also_after_a_restart(
    harness: Harness,
) -> None:
    async with (
        running(harness) as channel,
        reading(channel, "default/stays"),
        reading(channel, "default/goes"),
    ):
        assert sorted(await channel.triggers()) == ["default/goes", "default/stays"]

    async with running(harness) as channel:
        await channel.unsubscribe("default/goes")
        assert list(await channel.triggers()) == ["default/stays"]

    async with running(harness) as channel:
        assert list(await channel.triggers()) == ["default/stays"]
        async with reading(channel, "default/goes"):
            assert sorted(await channel.triggers()) == ["default/goes", "default/stays"]
