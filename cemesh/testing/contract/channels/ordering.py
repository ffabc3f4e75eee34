"""What comes in order to a trigger that asks for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import TRIGGER, WHY, ids, keyed, reading


async def test_events_of_one_key_come_one_at_a_time_and_in_order(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a1", "a2", "b1", "1", "a3", "2", "b2"))

        first = {claim.event.id: claim for claim in await reader.take(4)}
        assert first.keys() == {"a1", "b1", "1", "2"}
        assert await reader.nothing()

        await reader.settle(first["a1"])
        second = await reader.claim()
        assert second.event.id == "a2"
        assert await reader.nothing()

        await reader.settle(first["b1"], second)
        assert ids(await reader.take(2)) == ["a3", "b2"]


async def test_a_deferred_event_holds_up_only_its_key(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, window=2, ordered=True) as reader:
        await channel.append(keyed("a1", "a2", "1"))
        for claim in await reader.take(2):
            reader.cursor.defer(claim, timedelta(hours=1), attempts=1, condemned=None)
        await channel.append(keyed("a3", "b1", "b2", "2", "3"))

        passed: list[str] = []
        for _ in range(4):
            claim = await reader.claim()
            passed.append(claim.event.id)
            await reader.settle(claim)
        assert sorted(passed) == ["2", "3", "b1", "b2"]
        assert await reader.nothing()


async def test_what_is_behind_a_deferred_event_comes_when_that_is_settled(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a1", "a2"))
        claim = await reader.claim()
        started = asyncio.get_running_loop().time()
        reader.cursor.defer(claim, timedelta(seconds=0.4), attempts=2, condemned=WHY)

        assert await reader.nothing()
        again = await reader.claim()
        assert asyncio.get_running_loop().time() - started >= 0.39
        assert (again.event.id, again.attempts, again.condemned) == ("a1", 2, WHY)
        assert await reader.nothing()
        await reader.settle(again)
        assert (await reader.claim()).event.id == "a2"


async def test_a_released_event_comes_before_later_ones_of_its_key(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a1", "a2"))
        reader.cursor.release(await reader.claim())

        again = await reader.claim()
        assert again.event.id == "a1"
        assert await reader.nothing()


async def test_after_a_buried_event_the_next_of_its_key_comes(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a1", "a2"))
        reader.cursor.bury(await reader.claim(), WHY)

        assert (await reader.claim()).event.id == "a2"

    async with running(harness) as channel:
        assert [letter.event.id for letter in await channel.dead_letters.list()] == ["a1"]


async def test_the_order_holds_over_a_restart(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a1", "b1", "c1", "a2", "b2", "c2", "a3"))
        claims = {claim.event.id: claim for claim in await reader.take(3)}
        await reader.settle(claims["a1"])
        assert (await reader.claim()).event.id == "a2"
        reader.cursor.defer(claims["b1"], timedelta(hours=1), attempts=1, condemned=None)
        reader.cursor.defer(claims["c1"], timedelta(0), attempts=3, condemned=WHY)

    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a4", "c3"))
        claims = {claim.event.id: claim for claim in await reader.take(2)}
        assert claims.keys() == {"a2", "c1"}
        assert (claims["c1"].attempts, claims["c1"].condemned) == (3, WHY)
        assert await reader.nothing()

        await reader.settle(*claims.values())
        assert ids(await reader.take(2)) == ["a3", "c2"]
        assert await reader.nothing()


async def test_a_key_with_thousands_behind_a_stuck_event_holds_up_no_other(
    harness: Harness,
) -> None:
    stuck = [f"a{number}" for number in range(2_000)]
    fluent = [f"b{number}" for number in range(200)]
    async with running(harness) as channel, reading(channel, window=10, ordered=True) as reader:
        for start in range(0, 2_000, 500):
            at_once = stuck[start : start + 500] + fluent[start // 10 : start // 10 + 50]
            await channel.append(keyed(*at_once))
        first = {claim.event.id: claim for claim in await reader.take(2)}
        await reader.settle(first.pop("b0"))
        passed = ["b0"]
        while len(passed) < 200:
            claim = await reader.claim()
            passed.append(claim.event.id)
            await reader.settle(claim)

        assert first.keys() == {"a0"}
        assert passed == fluent
        assert await reader.nothing()
        books = (await channel.books())[TRIGGER]
        assert (books.matched, books.delivered, books.waiting) == (2_200, 200, 2_000)

    passed = []
    async with running(harness) as channel, reading(channel, window=10, ordered=True) as reader:
        while len(passed) < 2_000:
            claim = await reader.claim()
            passed.append(claim.event.id)
            await reader.settle(claim)

        assert passed == stuck
        assert await reader.nothing()
        books = (await channel.books())[TRIGGER]
        assert (books.matched, books.delivered, books.waiting) == (2_200, 2_200, 0)


async def test_each_of_many_keys_has_its_order(harness: Harness) -> None:
    rounds = [[f"key-{key}-{turn}" for key in range(300)] for turn in range(5)]
    got: dict[str, list[str]] = {}
    async with running(harness) as channel, reading(channel, window=50, ordered=True) as reader:
        for ids_of_round in rounds:
            await channel.append(keyed(*ids_of_round))
        for _ in range(1_500):
            claim = await reader.claim()
            got.setdefault(claim.event.attributes["partitionkey"], []).append(claim.event.id)
            await reader.settle(claim)

        assert len(got) == 300
        assert all(in_order == sorted(in_order) for in_order in got.values())
        assert await reader.nothing()


async def test_what_is_parked_keeps_its_place_over_restarts_until_it_is_attempted_anew(
    harness: Harness,
) -> None:
    soon = timedelta(milliseconds=20)
    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        await channel.append(keyed("a1", "a2"))
        reader.cursor.defer(await reader.claim(), soon, attempts=0, condemned=WHY)
        parked = await reader.claim()
        assert (parked.event.id, parked.attempts, parked.condemned) == ("a1", 0, WHY)
        reader.cursor.defer(parked, soon, attempts=0, condemned=WHY)

    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        parked = await reader.claim()
        assert (parked.event.id, parked.attempts, parked.condemned) == ("a1", 0, WHY)
        assert await reader.nothing()
        reader.cursor.defer(parked, timedelta(0), attempts=0, condemned=None)

    async with running(harness) as channel, reading(channel, ordered=True) as reader:
        anew = await reader.claim()
        assert (anew.event.id, anew.attempts, anew.condemned) == ("a1", 0, None)
        assert await reader.nothing()
        await reader.settle(anew)
        assert (await reader.claim()).event.id == "a2"


async def test_the_window_bounds_an_ordered_subscription_too(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, window=2, ordered=True) as reader:
        await channel.append(keyed("a1", "b1", "c1"))

        first, _ = await reader.take(2)
        assert await reader.nothing()
        await reader.settle(first)
        await reader.take(1)


async def test_a_subscription_waits_for_what_its_predecessor_has_out_of_a_key(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel, ordered=True) as first:
        await channel.append(keyed("a1", "a2"))
        one = await first.claim()
        async with reading(channel, ordered=True) as second:
            assert await second.nothing()
            await first.settle(one)
            assert (await second.claim()).event.id == "a2"


async def test_what_comes_after_a_trigger_is_ordered_waits_for_what_was_out_before(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as first:
        await channel.append(keyed("a1", "a2"))
        before = await first.take(2)
        async with reading(channel, ordered=True) as second:
            await channel.append(keyed("a3", "b1"))
            assert (await second.claim()).event.id == "b1"
            await first.settle(before[0])
            assert await second.nothing()
            await first.settle(before[1])
            assert (await second.claim()).event.id == "a3"


async def test_what_waits_in_line_comes_at_once_when_a_trigger_is_ordered_no_more(
    harness: Harness,
) -> None:
    waiting = [f"a{number}" for number in range(1, 301)]
    async with running(harness) as channel:
        async with reading(channel, ordered=True) as reader:
            await channel.append(keyed("a0", *waiting))
            assert (await reader.claim()).event.id == "a0"
            assert await reader.nothing()
        async with reading(channel, window=400) as reader:
            await channel.append(keyed("b1"))
            assert set(ids(await reader.take(302))) == {"a0", *waiting, "b1"}
            assert await reader.nothing()
