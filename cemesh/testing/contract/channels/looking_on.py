"""What those see of a channel who take nothing from it: the tail, and the history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Stored
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import SOON, TRIGGER, event, events, numbers, reading


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
