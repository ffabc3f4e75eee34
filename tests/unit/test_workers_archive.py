"""What several shards keep, looked at as if it were in one. The shards are real files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from broker.channels.causes import causes_of
from broker.channels.embedded import EmbeddedBackend
from broker.channels.embedded.channel import EmbeddedChannel
from broker.event import Event
from broker.filters import EVERYTHING
from broker.ports import Archive, BackendOptions, DeadLetter, Refusal, Stored
from broker.workers.archive import GatheredArchive, shard_of

SOON = 30.0
TRIGGER = "default/audit"
WHY = Refusal(destination="http://x/", reason="410 Gone", status=410, body=b"", attempts=1)


@asynccontextmanager
async def shards(folder: Path, count: int) -> AsyncIterator[Sequence[EmbeddedChannel]]:
    async with AsyncExitStack() as stack:
        backends = [
            EmbeddedBackend.from_url(
                "sqlite:",
                BackendOptions(
                    data_dir=str(folder),
                    retention_age=timedelta(days=7),
                    retention_bytes=1 << 30,
                    shard=number,
                ),
            )
            for number in range(count)
        ]
        yield [
            await (await stack.enter_async_context(each)).channel("default/default", {}, {})
            for each in backends
        ]


def event(number: int) -> Event:
    return Event({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}, b"{}")


async def bury(channel: EmbeddedChannel, number: int) -> None:
    """Append an event, and return once it is among the dead letters."""
    async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor:
        await channel.append([event(number)])
        claim = await anext(aiter(cursor.claims()))
        cursor.bury(claim, WHY)
    async with asyncio.timeout(SOON):
        while str(number) not in {each.event.id for each in await channel.dead_letters.list()}:
            await asyncio.sleep(0.005)


async def all_history(archive: Archive, limit: int) -> list[Stored]:
    found: list[Stored] = []
    after: str | None = None
    while True:
        page = await archive.history(after=after, limit=limit)
        found += page
        if len(page) < limit:
            return found
        after = page[-1].position


async def all_letters(archive: Archive, limit: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    after: str | None = None
    while True:
        page = await archive.dead_letters.list(after=after, limit=limit)
        found += page
        if len(page) < limit:
            return found
        after = page[-1].id


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
async def test_the_history_of_all_shards_comes_in_order_page_by_page(
    tmp_path: Path, limit: int
) -> None:
    async with shards(tmp_path, 3) as channels:
        for number, shard in enumerate([0, 0, 1, 0, 1, 1, 1, 0]):  # nothing in the third
            await channels[shard].append([event(number)])
        found = await all_history(GatheredArchive(channels[0], channels[1:]), limit)

    assert [each.event.id for each in found] == [str(number) for number in range(8)]


async def test_the_history_can_be_asked_for_an_id_and_a_time(tmp_path: Path) -> None:
    async with shards(tmp_path, 2) as channels:
        archive = GatheredArchive(channels[0], channels[1:])
        for number in range(4):
            await channels[number % 2].append([event(number)])
        third = (await archive.history())[2]

        assert [each.event.id for each in await archive.history(id="3")] == ["3"]
        assert [each.event.id for each in await archive.history(since=third.at)] == ["2", "3"]


@pytest.mark.parametrize("after", ["7", "1.2.3", "1.x", ""])
async def test_what_is_no_position_in_these_shards_is_refused(tmp_path: Path, after: str) -> None:
    async with shards(tmp_path, 2) as channels:
        archive = GatheredArchive(channels[0], channels[1:])
        with pytest.raises(ValueError, match="position"):
            await archive.history(after=after)


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_the_dead_letters_of_all_shards_come_in_order_page_by_page(
    tmp_path: Path, limit: int
) -> None:
    async with shards(tmp_path, 3) as channels:
        archive = GatheredArchive(channels[0], channels[1:])
        for number, shard in enumerate([2, 0, 1, 1, 0]):
            await bury(channels[shard], number)
        found = await all_letters(archive, limit)

        assert [each.event.id for each in found] == ["0", "1", "2", "3", "4"]
        assert [shard_of(each.id) for each in found] == [2, 0, 1, 1, 0]
        assert [await archive.dead_letters.get(each.id) for each in found] == found


async def test_the_dead_letters_of_all_shards_are_counted_together(tmp_path: Path) -> None:
    async with shards(tmp_path, 3) as channels:
        archive = GatheredArchive(channels[0], channels[1:])
        for number, shard in enumerate([2, 0, 1, 1]):
            await bury(channels[shard], number)
        letters = await all_letters(archive, 100)
        (cause,) = await causes_of(archive.dead_letters)

        assert (cause.trigger, cause.reason, cause.status) == (TRIGGER, WHY.reason, WHY.status)
        assert cause.count == 4
        assert (cause.first, cause.last) == (letters[0].buried_at, letters[-1].buried_at)


async def test_dead_letters_are_removed_wherever_they_are(tmp_path: Path) -> None:
    async with shards(tmp_path, 2) as channels:
        archive = GatheredArchive(channels[0], channels[1:])
        for number, shard in enumerate([0, 1, 1]):
            await bury(channels[shard], number)
        zero, one, two = await archive.dead_letters.list()

        unknown = str(int(one.id) + 7)  # of a shard that there is not
        assert await archive.dead_letters.remove([zero.id, two.id, unknown, "x"]) == 2
        assert await archive.dead_letters.get(unknown) is None
        assert [each.id for each in await archive.dead_letters.list()] == [one.id]


def test_what_was_buried_before_there_were_shards_is_in_the_first() -> None:
    assert shard_of("0000000000000007") == 0
    assert shard_of("nothing of ours") == 0


async def test_the_tail_follows_all_shards(tmp_path: Path) -> None:
    async with (
        shards(tmp_path, 2) as channels,
        GatheredArchive(channels[0], channels[1:]).tail() as events,
        asyncio.timeout(SOON),
    ):
        await channels[1].append([event(1)])
        await channels[0].append([event(0)])
        found = {(await anext(events)).id for _ in range(2)}

    assert found == {"0", "1"}
