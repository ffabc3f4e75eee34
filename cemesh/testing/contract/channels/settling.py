"""What becomes of a claim: it is settled, released, deferred or buried."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.channels.causes import causes_of
from broker.ports import Claim
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import (
    ROUNDED,
    SOON,
    TRIGGER,
    WHY,
    event,
    events,
    ids,
    numbers,
    reading,
)

# --- settling ------------------------------------------------------------------------------


async def test_an_unsettled_event_comes_back_after_resubscribing(harness: Harness) -> None:
    async with running(harness) as channel:
        async with reading(channel) as reader:
            await channel.append([event("1")])
            await reader.claim()
        async with reading(channel) as reader:
            assert (await reader.claim()).event.id == "1"
            assert await reader.nothing()


async def test_unsettled_comes_back_after_a_restart_and_settled_does_not(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append(events(4))
        claims = {claim.event.id: claim for claim in await reader.take(4)}
        await reader.settle(claims["0"], claims["2"])

    async with running(harness) as channel, reading(channel) as reader:
        assert ids(await reader.take(2)) == ["1", "3"]
        assert await reader.nothing()


async def test_settling_out_of_order_loses_nothing(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append(events(200))
        claims = await reader.take(100)
        await reader.settle(*reversed(claims[1:]))
        claims += await reader.take(99)
        await reader.settle(*claims[100:])

    async with running(harness) as channel, reading(channel) as reader:
        left = await reader.take(2)
        assert ids([*claims[1:], *left]) == numbers(200)
        assert claims[0].event.id in ids(left)
        assert await reader.nothing()


async def test_what_was_appended_but_never_claimed_is_there_after_a_restart(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel, window=10):
        await channel.append(events(2_500))

    async with running(harness) as channel, reading(channel, window=5_000) as reader:
        assert ids(await reader.take(2_500)) == numbers(2_500)
        assert await reader.nothing()


async def test_a_claim_is_settled_once(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1")])
        claim = await reader.claim()
        await reader.settle(claim)

        with pytest.raises(ValueError, match="not out"):
            await reader.settle(claim)


# --- releasing, deferring, burying ---------------------------------------------------------


async def test_a_released_claim_comes_again_with_the_same_attempts(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1")])
        reader.cursor.release(await reader.claim())

        again = await reader.claim()
        assert (again.event.id, again.attempts) == ("1", 0)


async def test_a_deferred_claim_comes_back_after_its_delay_with_its_attempts(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1")])
        claim = await reader.claim()
        started = asyncio.get_running_loop().time()
        reader.cursor.defer(claim, timedelta(seconds=0.4), attempts=2, condemned=WHY)

        assert await reader.nothing()
        again = await reader.claim()
        assert asyncio.get_running_loop().time() - started >= 0.39
        assert (again.event.id, again.attempts, again.condemned) == ("1", 2, WHY)


async def test_a_deferred_claim_comes_back_after_a_restart(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append(events(2))
        soon, late = await reader.take(2)
        reader.cursor.defer(soon, timedelta(seconds=0.2), attempts=1, condemned=None)
        reader.cursor.defer(late, timedelta(hours=1), attempts=1, condemned=None)

    async with running(harness) as channel, reading(channel) as reader:
        again = await reader.claim()
        assert (again.event.id, again.attempts) == (soon.event.id, 1)
        assert await reader.nothing()


async def test_a_claim_that_came_back_keeps_its_attempts_over_a_restart(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1")])
        reader.cursor.defer(await reader.claim(), timedelta(0), attempts=3, condemned=WHY)
        await reader.claim()

    async with running(harness) as channel, reading(channel) as reader:
        again = await reader.claim()
        assert (again.event.id, again.attempts, again.condemned) == ("1", 3, WHY)
        assert await reader.nothing()


async def test_a_claim_says_when_its_event_was_accepted_however_often_it_comes(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        before = datetime.now(UTC)
        await channel.append([event("1")])
        after = datetime.now(UTC)
        claim = await reader.claim()
        assert before - ROUNDED <= claim.accepted_at <= after + ROUNDED
        reader.cursor.defer(claim, timedelta(seconds=0.4), attempts=1, condemned=None)

        again = await reader.claim()
        assert again.accepted_at == claim.accepted_at

    async with running(harness) as channel, reading(channel) as reader:
        assert (await reader.claim()).accepted_at == claim.accepted_at


async def test_deferring_again_and_again_neither_loses_nor_doubles(harness: Harness) -> None:
    rounds = 5
    async with running(harness) as channel, reading(channel, window=50) as reader:
        await channel.append(events(120))
        settled: list[Claim] = []
        while len(settled) < 120:
            claim = await reader.claim()
            if claim.attempts == rounds:
                settled.append(claim)
                await reader.settle(claim)
            else:
                reader.cursor.defer(
                    claim,
                    timedelta(milliseconds=int(claim.event.id) % 7),
                    attempts=claim.attempts + 1,
                    condemned=None,
                )

        assert ids(settled) == numbers(120)
        assert await reader.nothing()


async def test_what_waits_holds_nothing_else_up(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, window=1) as reader:
        await channel.append([event("stuck")])
        reader.cursor.defer(await reader.claim(), timedelta(hours=1), attempts=1, condemned=None)
        await channel.append([event("next")])

        assert (await reader.claim()).event.id == "next"


async def test_a_buried_event_is_in_the_dead_letter_store_and_does_not_come_back(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([event("1", data=b"\xff"), event("2")])
        for claim in await reader.take(2):
            reader.cursor.bury(claim, WHY)

    async with running(harness) as channel, reading(channel) as reader:
        assert await reader.nothing()
        letters = await channel.dead_letters.list()
        assert [letter.event.id for letter in letters] == ["1", "2"]
        assert letters[0].event.data == b"\xff"
        assert letters[0].trigger == TRIGGER
        assert letters[0].why == WHY


async def test_the_span_that_an_event_comes_from_stays_with_it(harness: Harness) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=a,other=b"
    async with running(harness) as channel, reading(channel) as reader:
        await channel.append([replace(event("1"), trace=trace), event("2")])
        for claim in await reader.take(2):
            reader.cursor.defer(claim, timedelta(0), attempts=1, condemned=None)
        for claim in await reader.take(2):
            assert claim.event.trace == (trace if claim.event.id == "1" else None)
            reader.cursor.bury(claim, WHY)

    async with running(harness) as channel, reading(channel) as reader:
        assert await reader.nothing()
        letters = {letter.event.id: letter.event for letter in await channel.dead_letters.list()}
        assert (letters["1"].trace, letters["2"].trace) == (trace, None)
        assert dict(letters["1"].attributes) == dict(event("1").attributes)
        await channel.append([letters["1"]], to=TRIGGER)
        assert (await reader.claim()).event.trace == trace


async def test_dead_letters_are_counted_by_cause(harness: Harness) -> None:
    async with (
        running(harness) as channel,
        reading(channel, "default/a") as a,
        reading(channel, "default/b") as b,
    ):
        await channel.append(events(3))
        others = replace(WHY, reason="connection refused", status=None)
        for reader, whys in ((a, [WHY, WHY, others]), (b, [WHY, WHY, WHY])):
            for claim, why in zip(await reader.take(3), whys, strict=True):
                reader.cursor.bury(claim, why)
        async with asyncio.timeout(SOON):
            while len(letters := await channel.dead_letters.list()) < 6:
                await asyncio.sleep(0.01)

        causes = await causes_of(channel.dead_letters)

        assert [(each.trigger, each.reason, each.status, each.count) for each in causes] == [
            ("default/b", WHY.reason, WHY.status, 3),
            ("default/a", WHY.reason, WHY.status, 2),
            ("default/a", "connection refused", None, 1),
        ]
        times = [each.buried_at for each in letters if each.trigger == "default/b"]
        assert (causes[0].first, causes[0].last) == (min(times), max(times))


async def test_dead_letters_are_listed_by_trigger_and_page_and_removed(harness: Harness) -> None:
    async with (
        running(harness) as channel,
        reading(channel, "default/a") as a,
        reading(channel, "default/b") as b,
    ):
        await channel.append(events(3))
        for reader in (a, b):
            for claim in await reader.take(3):
                reader.cursor.bury(claim, WHY)
        async with asyncio.timeout(SOON):
            while len(await channel.dead_letters.list()) < 6:
                await asyncio.sleep(0.01)

        of_b = await channel.dead_letters.list(trigger="default/b", limit=2)
        rest = await channel.dead_letters.list(trigger="default/b", after=of_b[-1].id)
        assert [letter.trigger for letter in [*of_b, *rest]] == ["default/b"] * 3
        assert len({letter.id for letter in [*of_b, *rest]}) == 3
        assert await channel.dead_letters.get(of_b[0].id) == of_b[0]

        assert await channel.dead_letters.remove([of_b[0].id, of_b[1].id, "nonsense"]) == 2
        assert await channel.dead_letters.get(of_b[0].id) is None
        assert len(await channel.dead_letters.list()) == 4
