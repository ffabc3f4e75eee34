"""What `cemesh.testing` promises to those who test their sources."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.errors import PluginNotFound
from cemesh import Emitter, Event, SourceContext, UpstreamUnavailable
from cemesh.testing import running

SHORT = timedelta(seconds=0.05)


def event(number: int) -> Event:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/here", "type": "a.b"}
    return Event.checked(attributes, b"%d" % number)


async def counting(emit: Emitter, context: SourceContext) -> None:
    number = await context.load() or 0
    for following in range(number + 1, 1_000_000):
        await emit(event(following))
        await context.save(following)
        await asyncio.sleep(0.001)


async def three(emit: Emitter, context: SourceContext) -> None:
    await emit([event(1), event(2), event(3)])
    await context.reject("no number", id="x", data=b"?")
    await asyncio.Event().wait()


async def failing(emit: Emitter) -> None:
    raise UpstreamUnavailable("no server answers")


async def test_events_come_in_their_order_with_their_payload_each_once() -> None:
    async with running(counting) as source:
        first = await source.events(2)
        second = await source.events(2)

        assert [(each.id, each.data) for each in (*first, *second)] == [
            *(("1", b"1"), ("2", b"2"), ("3", b"3"), ("4", b"4"))
        ]


async def test_what_a_manifest_would_add_is_added() -> None:
    async with running(counting, extensions={"team": "a"}) as source:
        (found,) = await source.events(1)

        assert found.attributes["team"] == "a"


async def test_events_that_do_not_come_are_an_assertion_with_what_is_wrong() -> None:
    async with running(three) as source:
        with pytest.raises(AssertionError) as few:
            await source.events(5, within=SHORT)
    async with running(failing) as source:
        with pytest.raises(AssertionError) as none:
            await source.events(1, within=SHORT)

    assert str(few.value) == "3 of 5 events came; the source is running"
    assert str(none.value) == "0 of 1 events came; the source is unhealthy: no server answers"


async def test_what_is_rejected_is_there_with_its_reason() -> None:
    async with running(three) as source:
        (letter,) = await source.rejected(1)
        with pytest.raises(AssertionError, match="1 of 2 messages were rejected"):
            await source.rejected(2, within=SHORT)

        assert (letter.event.id, letter.why.reason) == ("x", "no number")


async def test_a_restart_goes_on_from_what_was_saved() -> None:
    async with running(counting) as source:
        await source.events(3)
        await source.restart()
        numbers = [int(each.id) for each in await source.events(50)]

        assert sorted(set(numbers)) == list(range(4, max(numbers) + 1))


async def test_while_the_store_is_away_the_source_is_unhealthy_and_then_goes_on() -> None:
    async with running(counting) as source:
        await source.events(1)
        with source.outage("the disk is full"):
            told = await source.until("unhealthy")
            with pytest.raises(AssertionError, match="it did not come to be running"):
                await source.until("running", within=SHORT)
        await source.until("running")
        await source.events(10)

        assert told.error == "the disk is full"


async def test_what_can_be_no_source_is_refused() -> None:
    with pytest.raises(PluginNotFound, match="is neither a class with"):
        async with running(5):
            raise AssertionError("it runs")
