"""What becomes of events that are appended: who gets them, and that they stay as they were."""

from __future__ import annotations

import asyncio

import pytest

from broker.event import Event
from broker.filters import Exact, Prefix
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import TRIGGER, event, events, ids, numbers, reading

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
