"""Looking back in a channel: what the clock, the bounds and the size of a log do to it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.channels.embedded import EmbeddedBackend, retention, store
from broker.channels.embedded.channel import EmbeddedChannel
from broker.channels.embedded.schema import open_reader
from broker.channels.memory_log import MemoryLog
from broker.event import Event
from broker.ports import BackendOptions, Channel, Stored

BEGINNING = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)

# What a clock may show at one event after the other, in seconds: it stands still, is set back
# by half a minute, jumps ahead, is set back again.
CLOCK = [*range(100), 99, 99, 99, *range(70, 200), *range(900, 910), *range(860, 1000)]


def event(number: int, data: bytes | None = None) -> Event:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/shop", "type": "order"}
    return Event.checked(attributes, data)


def at(seconds: int) -> datetime:
    return BEGINNING + timedelta(seconds=seconds)


def told(history: Sequence[Stored]) -> list[int]:
    return [int(each.event.id) for each in history]


def expected(since: int) -> list[int]:
    return [number for number, shown in enumerate(CLOCK) if shown >= since]


@pytest.fixture
def options(tmp_path: Path) -> BackendOptions:
    return BackendOptions(
        data_dir=str(tmp_path), retention_age=timedelta(days=36_500), retention_bytes=1 << 30
    )


@asynccontextmanager
async def running(
    options: BackendOptions,
) -> AsyncIterator[tuple[EmbeddedBackend, EmbeddedChannel]]:
    async with EmbeddedBackend.from_url("sqlite:", options) as backend:
        yield backend, await backend.channel("default/default", {}, {})


async def store_by_the_clock(options: BackendOptions, clock: Sequence[int]) -> None:
    """Store an event for each time, as if the clock had shown that when it was accepted."""
    async with running(options) as (_, channel):
        await channel.append([event(number) for number in range(len(clock))])
    with closing(sqlite3.connect(Path(options.data_dir, store.FILE_NAME))) as file, file:
        file.executemany(
            "UPDATE log_1 SET at = ? WHERE position = ?",
            [
                (int(at(shown).timestamp()) * 1_000_000, position)
                for position, shown in enumerate(clock, start=1)
            ],
        )


async def test_a_clock_that_was_set_back_hides_nothing_from_the_embedded_history(
    options: BackendOptions,
) -> None:
    await store_by_the_clock(options, CLOCK)
    async with running(options) as (_, channel):
        for since in range(0, 1_010, 5):
            assert told(await channel.history(since=at(since))) == expected(since)


async def test_a_clock_that_was_set_back_hides_nothing_from_the_history_in_memory() -> None:
    log = MemoryLog(1 << 30)
    for number, shown in enumerate(CLOCK):
        log.append(event(number), at(shown), None)

    for since in range(0, 1_010, 5):
        history = await log.history(since=at(since), after=None, id=None, limit=10_000)
        assert told(history) == expected(since)


async def test_what_was_accepted_late_is_found_without_reading_what_was_before(
    options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    def traced(path: Path) -> sqlite3.Connection:
        reader = open_reader(path)
        reader.set_trace_callback(statements.append)
        return reader

    monkeypatch.setattr(store, "open_reader", traced)
    await store_by_the_clock(options, range(5_000))
    async with running(options) as (_, channel):
        assert told(await channel.history(since=at(4_900))) == list(range(4_900, 5_000))

    assert len(statements) < 20
    assert "position > 4840 " in statements[-1]  # a minute before


async def test_the_history_reads_no_payload(
    options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns: set[str | None] = set()

    def note(action: int, _: str | None, column: str | None, *__: str | None) -> int:
        if action == sqlite3.SQLITE_READ:
            columns.add(column)
        return sqlite3.SQLITE_OK

    def watched(path: Path) -> sqlite3.Connection:
        reader = open_reader(path)
        reader.set_authorizer(note)
        return reader

    monkeypatch.setattr(store, "open_reader", watched)
    async with running(options) as (_, channel):
        await channel.append([event(1, b"x" * 100_000)])
        found = await channel.history(since=at(0), id="1")

    assert told(found) == [1]
    assert "head" in columns
    assert "data" not in columns


async def test_a_page_is_as_long_as_asked_for_however_little_is_read_at_once(
    options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.channels.embedded.history._AT_ONCE", 10)
    async with running(options) as (_, channel):
        await channel.append([event(number % 33) for number in range(100)])

        assert told(await channel.history(id="0")) == [0, 0, 0, 0]
        assert told(await channel.history(id="32", limit=2)) == [32, 32]
        assert told(await channel.history(limit=15)) == list(range(15))


async def test_pages_go_on_behind_what_was_trimmed_meanwhile(options: BackendOptions) -> None:
    options = replace(options, retention_bytes=20_000)
    async with running(options) as (backend, channel):
        await channel.append([event(number, b"x" * 800) for number in range(10)])
        [*_, last] = await channel.history(limit=3)
        await channel.append([event(number, b"x" * 800) for number in range(10, 40)])
        await retention.trim(backend._store, channel, options)

        kept = told(await channel.history())
        assert 3 < len(kept) < 37
        assert kept == list(range(40 - len(kept), 40))
        assert told(await channel.history(after=last.position)) == kept
        assert told(await channel.history(since=last.at)) == kept


async def test_what_there_was_no_room_for_in_memory_is_gone_from_its_history() -> None:
    log = MemoryLog(10 * 600)
    for number in range(25):
        log.append(event(number, b"x" * 100), at(number), None)

    async def history(since: int | None = None, after: str | None = None) -> list[int]:
        begin = None if since is None else at(since)
        return told(await log.history(since=begin, after=after, id=None, limit=100))

    assert await history() == list(range(15, 25))
    assert await history(since=3) == list(range(15, 25))
    assert await history(since=20) == list(range(20, 25))
    assert await history(after="2") == list(range(15, 25))
    assert await history(after="20") == list(range(20, 25))


async def test_an_event_too_large_for_the_memory_leaves_an_empty_history() -> None:
    log = MemoryLog(1_000)
    log.append(event(1, b"x" * 2_000), at(1), None)

    assert await log.history(since=at(0), after=None, id=None, limit=1) == []
    assert log.append(event(2), at(2), None) == 2
    assert told(await log.history(since=at(0), after=None, id=None, limit=1)) == [2]


async def test_everything_trimmed_leaves_an_empty_history(options: BackendOptions) -> None:
    options = replace(options, retention_age=timedelta(0))
    async with running(options) as (backend, channel):
        await channel.append([event(1)])
        [stored] = await channel.history()
        await retention.trim(backend._store, channel, options)

        assert await every_way(channel, stored) == [[], [], [], []]


async def every_way(channel: Channel, stored: Stored) -> list[list[int]]:
    return [
        told(await channel.history()),
        told(await channel.history(since=stored.at)),
        told(await channel.history(after="0")),
        told(await channel.history(id=stored.event.id)),
    ]
