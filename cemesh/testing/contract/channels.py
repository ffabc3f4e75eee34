"""What every channel promises (`broker.ports.Channel`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import EVERYTHING, Exact, Prefix
from broker.ports import Claim, Outcome, Pause, Stored
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import (
    A_WHILE,
    ROUNDED,
    SOON,
    TRIGGER,
    WHY,
    Reader,
    event,
    events,
    ids,
    keyed,
    numbers,
    reading,
)

# --- who gets what -------------------------------------------------------------------------


async def test_every_subscription_sees_every_matching_event(harness: Harness) -> None:
    orders = Exact((("type", "order.created"),))
    async with (
        running(harness) as channel,
        reading(channel, "default/all") as everything,
        reading(channel, "default/orders", filter=orders) as only_orders,
        reading(channel, "default/invoices", filter=Prefix((("type", "invoice."),))) as invoices,
    ):
        await channel.append([event("1"), event("2", "invoice.sent"), event("3")])

        assert ids(await everything.take(3)) == ["1", "2", "3"]
        assert ids(await only_orders.take(2)) == ["1", "3"]
        assert ids(await invoices.take(1)) == ["2"]
        assert await everything.nothing()
        assert await only_orders.nothing()
        assert await invoices.nothing()


async def test_a_new_trigger_starts_with_what_is_appended_from_now_on(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.append([event("before")])
        async with reading(channel) as reader:
            await channel.append([event("after")])

            assert (await reader.claim()).event.id == "after"
            assert await reader.nothing()


async def test_an_event_that_no_trigger_matches_is_accepted(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.append([event("1")])

        assert await channel.accepted() == 1


async def test_a_redriven_event_goes_to_its_trigger_alone_whatever_the_filter(
    harness: Harness,
) -> None:
    never = Exact((("type", "never"),))
    async with (
        running(harness) as channel,
        reading(channel, filter=never) as mine,
        reading(channel, "default/other") as other,
    ):
        await channel.append([event("1")], to=TRIGGER)

        assert (await mine.claim()).event.id == "1"
        assert await other.nothing()


async def test_many_appends_at_once_are_each_seen_once(harness: Harness) -> None:
    async with running(harness) as channel, reading(channel, window=1_000) as reader:
        async with asyncio.TaskGroup() as tasks:
            for each in events(500):
                tasks.create_task(channel.append([each]))

        assert ids(await reader.take(500)) == numbers(500)
        assert await reader.nothing()


# --- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [None, b"", b"null", b' { "a" : 1e400, "a": 12345678901234567890 } \n', b"\x00\xff\xfe", b"{"],
)
async def test_the_payload_survives_byte_for_byte(harness: Harness, data: bytes | None) -> None:
    async with running(harness) as channel, reading(channel):
        await channel.append([event("1", data=data)])
    async with running(harness) as channel, reading(channel) as reader:
        assert (await reader.claim()).event.data == data


async def test_attributes_and_their_types_survive(harness: Harness) -> None:
    sent = Event.checked(
        {
            "specversion": "1.0",
            "id": 'Ω \U0001f600 "quoted" \\',
            "source": "urn:x?y#z",
            "type": "t",
            "time": "2026-11-22T10:00:60.123456789+00:00",
            "number": "-5",
            "digits": "-5",
            "flag": "true",
            "word": "true",
            "empty": "",
        },
        kinds={"number": "integer", "flag": "boolean"},
        hops=7,
    )
    async with running(harness) as channel, reading(channel):
        await channel.append([sent])
    async with running(harness) as channel, reading(channel) as reader:
        got = (await reader.claim()).event

    assert dict(got.attributes) == dict(sent.attributes)
    assert list(got.attributes) == list(sent.attributes)
    assert dict(got.kinds) == dict(sent.kinds)
    assert got.hops == 7


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


# --- pauses --------------------------------------------------------------------------------


async def test_what_is_paused_is_paused_after_a_restart_and_until_it_is_resumed(
    harness: Harness,
) -> None:
    since = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    gone = Pause(why="410 Gone", since=since, destination="http://a.test/")
    asked = Pause(why="an operator asked — «später»", since=datetime(2026, 2, 3, tzinfo=UTC))
    async with running(harness) as channel:
        assert await channel.pauses.all() == {}
        await channel.pauses.put("default/a", asked)
        await channel.pauses.put("default/a", gone)
        await channel.pauses.put("default/b", asked)

        assert await channel.pauses.all() == {"default/a": gone, "default/b": asked}
    async with running(harness) as channel:
        assert await channel.pauses.all() == {"default/a": gone, "default/b": asked}
        await channel.pauses.remove("default/a")
        await channel.pauses.remove("default/never")

        assert await channel.pauses.all() == {"default/b": asked}
    async with running(harness) as channel:
        assert await channel.pauses.all() == {"default/b": asked}


async def test_a_channel_hands_out_what_a_paused_trigger_gets_all_the_same(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.pauses.put(TRIGGER, Pause(why="a test", since=datetime.now(UTC)))
        await channel.append(events(3))

        assert ids(await reader.take(3)) == numbers(3)


async def test_nothing_is_paused_or_resumed_while_the_store_is_gone(harness: Harness) -> None:
    pause = Pause(why="a test", since=datetime(2026, 1, 2, tzinfo=UTC))
    async with running(harness) as channel:
        await channel.pauses.put("default/a", pause)
        with harness.outage():
            with pytest.raises(ChannelUnavailable):
                await channel.append([event("refused")])
            with pytest.raises(ChannelUnavailable):
                await channel.pauses.put("default/b", pause)
            with pytest.raises(ChannelUnavailable):
                await channel.pauses.remove("default/a")

        assert "default/a" in await channel.pauses.all()


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


# --- in order ------------------------------------------------------------------------------


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


# --- when the store is gone ----------------------------------------------------------------


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


# --- the books -----------------------------------------------------------------------------


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


# --- looking on ----------------------------------------------------------------------------


async def test_the_tail_follows_what_is_appended_from_now_on(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.append([event("before")])
        async with channel.tail() as seen:
            await channel.append([event("1"), event("2")])

            async with asyncio.timeout(SOON):
                assert [(await anext(seen)).id, (await anext(seen)).id] == ["1", "2"]


async def test_the_history_is_all_that_is_kept_oldest_first_without_payloads(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        began = datetime.now(UTC)
        await channel.append([event("1"), event("2", "invoice.sent")])
        await channel.append([event("3")])
        await reader.settle(*await reader.take(3))

        history = await channel.history()
        assert history == await channel.history(limit=3)
        assert told(history) == ["1", "2", "3"]
        assert [each.event for each in history] == [
            event("1", data=None),
            event("2", "invoice.sent", data=None),
            event("3", data=None),
        ]
        assert began <= history[0].at <= history[2].at <= datetime.now(UTC)

    async with running(harness) as channel:
        assert await channel.history() == history


async def test_the_history_of_a_channel_without_events_is_empty(harness: Harness) -> None:
    async with running(harness) as channel:
        assert await channel.history() == []
        assert await channel.history(since=datetime.now(UTC), id="1") == []


async def test_the_history_has_the_types_of_attributes(harness: Harness) -> None:
    attributes = {**event("1").attributes, "n": "-5", "digits": "-5", "flag": "true"}
    sent = Event.checked(attributes, kinds={"n": "integer", "flag": "boolean"}, hops=7)
    async with running(harness) as channel:
        await channel.append([sent])

        assert [each.event for each in await channel.history()] == [sent]


async def test_the_history_can_begin_at_a_time(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.append(events(3))
        [*_, third] = await channel.history()
        after = third.at + timedelta(microseconds=1)
        while datetime.now(UTC) < after:
            await asyncio.sleep(0)
        await channel.append(events(3, start=3))

        assert told(await channel.history(since=third.at)) == numbers(6)
        assert told(await channel.history(since=after)) == numbers(3, start=3)
        assert told(await channel.history(since=datetime.min.replace(tzinfo=UTC))) == numbers(6)
        assert await channel.history(since=datetime.now(UTC) + timedelta(hours=1)) == []


async def test_the_pages_of_the_history_have_every_event_once(harness: Harness) -> None:
    pages: list[Sequence[Stored]] = []
    async with running(harness) as channel:
        await channel.append(events(2_500))
        after: str | None = None
        while page := await channel.history(after=after, limit=700):
            pages.append(page)
            after = page[-1].position
            if len(pages) == 1:
                await channel.append(events(10, start=2_500))

    assert [len(page) for page in pages] == [700, 700, 700, 410]
    assert told([stored for page in pages for stored in page]) == numbers(2_510)


async def test_the_history_can_be_that_of_one_id(harness: Harness) -> None:
    hard = 'Ω "1" \\ 😀'
    decoy = Event({**event('","id":"1"').attributes, "orderid": "1", "subject": '"id":"1"'})
    async with running(harness) as channel:
        await channel.append([event("1"), event("11"), event(hard), decoy, event("1", "other")])

        both = await channel.history(id="1")
        assert [each.event.type for each in both] == ["order.created", "other"]
        assert told(await channel.history(id="1", after=both[0].position)) == ["1"]
        assert told(await channel.history(id="1", limit=1)) == ["1"]
        assert told(await channel.history(id=hard)) == [hard]
        assert await channel.history(id="2") == []


async def test_the_history_tells_for_whom_a_redrive_was(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.append([event("1")])
        await channel.append([event("2")], to=TRIGGER)

        assert [each.to for each in await channel.history()] == [None, TRIGGER]


@pytest.mark.parametrize("position", ["", "nonsense", "-1", "1.5", "²", "9" * 40])
async def test_a_position_that_no_channel_gave_is_refused(harness: Harness, position: str) -> None:
    async with running(harness) as channel:
        await channel.append([event("1")])

        with pytest.raises(ValueError, match="is not a position"):
            await channel.history(after=position)


async def test_the_history_is_unavailable_while_the_store_is_gone(harness: Harness) -> None:
    async with running(harness) as channel:
        await channel.append([event("1")])
        assert told(await channel.history()) == ["1"]
        with harness.outage():
            with pytest.raises(ChannelUnavailable):
                await channel.append([event("refused")])
            with pytest.raises(ChannelUnavailable):
                await channel.history()

        assert told(await channel.history()) == ["1"]


def told(history: Sequence[Stored]) -> list[str]:
    return [stored.event.id for stored in history]
