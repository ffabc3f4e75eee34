"""What every source promises (`broker.ports.Source`), beside an upstream that is the test's own."""

from __future__ import annotations

import asyncio
from typing import Protocol

import pytest

from broker.event import Event
from cemesh.testing.sources import RunningSource, running


class Upstream(Protocol):
    """A source under test, and what it reads from: things that are numbered.

    ``source`` is the class or function, ``spec`` an instance of its model. Where upstream does not
    say which of two things comes again, it has ``tells_apart``, which is False.
    """

    source: object
    spec: object

    async def bring(self, number: int) -> None:
        """Let one thing more be there for the source, which becomes one event."""
        ...

    def number_of(self, event: Event) -> int:
        """Return which thing the event was."""
        ...


async def test_all_that_comes_is_emitted_and_an_event_each(upstream: Upstream) -> None:
    async with running(upstream.source, upstream.spec) as source:
        for number in range(20):
            await upstream.bring(number)
        events = await source.events(20)

    assert sorted(map(upstream.number_of, events)) == list(range(20))
    assert len({(each.source, each.id) for each in events}) == 20


async def test_what_was_there_before_and_what_comes_while_it_is_stopped_is_emitted(
    upstream: Upstream,
) -> None:
    async with running(upstream.source, upstream.spec) as source:
        await upstream.bring(0)
        (first,) = await source.events(1)
        await source.stop()
        for number in range(1, 6):
            await upstream.bring(number)
        source.start()
        found = {upstream.number_of(first)}
        while len(found) < 6:
            [event] = await source.events(1)
            found.add(upstream.number_of(event))

    assert found == set(range(6))


async def test_what_comes_again_after_a_crash_is_the_same_event(upstream: Upstream) -> None:
    async with running(upstream.source, upstream.spec) as source:
        await upstream.bring(0)
        await source.events(1)
        crashing = asyncio.create_task(source.crash())
        await upstream.bring(1)
        await crashing
        before = await event_of(1, upstream, source)
        source.start()
        again = await event_of(1, upstream, source)

    assert (again.source, again.type, again.data) == (before.source, before.type, before.data)
    if getattr(upstream, "tells_apart", True):
        assert again.id == before.id


async def event_of(number: int, upstream: Upstream, source: RunningSource) -> Event:
    """Return the next event that the thing of that number was."""
    while True:
        [event] = await source.events(1)
        if upstream.number_of(event) == number:
            return event


async def test_nothing_is_lost_while_the_store_is_away(upstream: Upstream) -> None:
    async with running(upstream.source, upstream.spec) as source:
        await upstream.bring(0)
        await source.events(1)
        with source.outage():
            for number in range(1, 4):
                await upstream.bring(number)
            await source.until("unhealthy")
        found: set[int] = set()
        while found < {1, 2, 3}:
            [event] = await source.events(1)
            found.add(upstream.number_of(event))


async def test_it_ends_soon_whenever_it_is_stopped(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(upstream.source, upstream.spec) as source:
        for number in range(3):
            await upstream.bring(number)
            await source.restart()
            await asyncio.sleep(0.05 * number)

    assert "source does not end" not in caplog.text
