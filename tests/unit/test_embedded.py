"""What is the embedded channel's own: its file, its lock, its bounds."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.channels import clock
from broker.channels.embedded import EmbeddedBackend, retention, store
from broker.channels.embedded.channel import EmbeddedChannel
from broker.channels.embedded.deferrals import Deferrals
from broker.channels.embedded.records import Record
from broker.channels.embedded.store import Store
from broker.channels.place import Held
from broker.errors import ChannelFull, ChannelUnavailable, DataDirectoryInUse
from broker.event import Event
from broker.filters import EVERYTHING
from broker.ports import BackendOptions, Claim, Cursor, Outcome, Pause, Refusal

SOON = 30.0
TRIGGER = "default/audit"
REFUSAL = Refusal(destination="x", reason="a test", status=None, body=b"", attempts=0)


@pytest.fixture
def options(tmp_path: Path) -> BackendOptions:
    return BackendOptions(
        data_dir=str(tmp_path / "data"),
        retention_age=timedelta(days=7),
        retention_bytes=1 << 30,
    )


@asynccontextmanager
async def running(
    options: BackendOptions, url: str = "sqlite:"
) -> AsyncIterator[tuple[EmbeddedBackend, EmbeddedChannel]]:
    async with EmbeddedBackend.from_url(url, options) as backend:
        yield backend, await backend.channel("default/default", {}, {})


def event(number: int, size: int = 2) -> Event:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/shop", "type": "order"}
    return Event.checked(attributes, b"x" * size)


def data_file(options: BackendOptions) -> Path:
    return Path(options.data_dir, store.FILE_NAME)


def prepared(options: BackendOptions, content: bytes) -> Path:
    path = data_file(options)
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def overwrite(path: Path, *, start: int) -> None:
    """Damage the file from there to its end, as a failing disk might."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(start)
        file.write(b"\xa5" * (size - start))


def rows(options: BackendOptions, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(Path(options.data_dir, store.FILE_NAME))) as connection:
        return connection.execute(query).fetchall()


async def first(cursor: Cursor) -> Claim:
    async with asyncio.timeout(SOON):
        async for claim in cursor.claims():
            return claim
    raise AssertionError("the claims have ended")


# --- durability ----------------------------------------------------------------------------


async def test_a_commit_reaches_the_disk_before_append_returns(options: BackendOptions) -> None:
    async with running(options) as (backend, channel):
        await channel.append([event(1)])

        def pragma(name: str) -> object:
            return backend._store._writer.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2  # FULL: the write-ahead log is synced at every commit


async def test_appends_that_arrive_together_share_a_commit(options: BackendOptions) -> None:
    async with running(options) as (backend, channel):
        statements: list[str] = []
        backend._store._writer.set_trace_callback(statements.append)
        await asyncio.gather(*(channel.append([event(number)]) for number in range(200)))

        assert statements.count("COMMIT") < 10
        assert await channel.accepted() == 200


async def test_what_was_appended_survives_kill_9(options: BackendOptions) -> None:
    """A child process appends, says so, and kills itself on the spot."""
    child = textwrap.dedent(
        f"""
        import asyncio, os, signal
        from tests.unit.test_embedded import event, running, TRIGGER
        from broker.filters import EVERYTHING
        from broker.ports import BackendOptions
        from datetime import timedelta

        async def main():
            options = BackendOptions(data_dir={options.data_dir!r},
                                     retention_age=timedelta(days=7), retention_bytes=1 << 30)
            async with running(options) as (_, channel):
                async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=1):
                    for number in range(50):
                        await channel.append([event(number)])
                        print(number, flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
        """
    )
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", child], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    accepted = ended.stdout.split()
    assert len(accepted) == 50

    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=100) as cursor,
    ):
        got = [(await claim).event.id for claim in _next(cursor, 50)]
    assert got == accepted


def _next(cursor: Cursor, count: int) -> Iterator[asyncio.Future[Claim]]:
    claims = cursor.claims()
    for _ in range(count):
        yield asyncio.ensure_future(asyncio.wait_for(anext(claims), SOON))


# --- one process at a time -----------------------------------------------------------------


async def test_a_second_process_is_told_who_holds_the_folder(options: BackendOptions) -> None:
    async with running(options):
        with pytest.raises(DataDirectoryInUse, match=rf"in use by process {os.getpid()} .*since"):
            await EmbeddedBackend.from_url("sqlite:", options).__aenter__()


async def test_the_folder_is_free_again_after_the_backend_is_left(options: BackendOptions) -> None:
    async with running(options):
        pass
    async with running(options):
        pass


async def test_a_url_can_name_the_folder(options: BackendOptions, tmp_path: Path) -> None:
    async with running(options, f"sqlite:{tmp_path}/elsewhere"):
        assert (tmp_path / "elsewhere" / store.FILE_NAME).exists()


async def test_a_folder_that_cannot_be_made_is_said(
    options: BackendOptions, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ChannelUnavailable, match=r"file/data cannot be used: Not a directory"):
        await EmbeddedBackend.from_url(f"sqlite:{tmp_path}/file/data", options).__aenter__()


# --- files that are not what they should be ------------------------------------------------


async def test_a_file_that_is_no_database_is_refused_by_name(options: BackendOptions) -> None:
    path = prepared(options, b"not a database" * 1000)

    with pytest.raises(ChannelUnavailable, match=rf"{path}.*not a SQLite database.*move the file"):
        await EmbeddedBackend.from_url("sqlite:", options).__aenter__()


async def test_somebody_elses_database_is_left_alone(options: BackendOptions) -> None:
    with closing(sqlite3.connect(prepared(options, b""))) as connection:
        connection.execute("CREATE TABLE theirs (a)")

    with pytest.raises(ChannelUnavailable, match="not one of cemesh"):
        await EmbeddedBackend.from_url("sqlite:", options).__aenter__()
    assert rows(options, "SELECT name FROM sqlite_schema") == [("theirs",)]


async def test_a_file_of_a_later_format_is_refused(options: BackendOptions) -> None:
    async with running(options):
        pass
    with closing(sqlite3.connect(Path(options.data_dir, store.FILE_NAME))) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(ChannelUnavailable, match="format 99"):
        await EmbeddedBackend.from_url("sqlite:", options).__aenter__()


async def test_a_damaged_file_refuses_events_and_says_how_to_recover(
    options: BackendOptions,
) -> None:
    async with running(options) as (_, channel):
        for number in range(50):
            await channel.append([event(number, size=10_000)])
    path = data_file(options)
    overwrite(path, start=4096)

    with pytest.raises(ChannelUnavailable, match=rf"{path}.*damaged.*\.recover"):
        async with running(options) as (_, channel):
            await channel.append([event(100)])


async def test_a_file_of_the_first_format_goes_on_where_it_was(options: BackendOptions) -> None:
    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor,
    ):
        await channel.append([event(1), event(2)])
        cursor.settle(await first(cursor), Outcome.DELIVERED)
    with closing(sqlite3.connect(data_file(options))) as connection:
        connection.executescript(
            "ALTER TABLE place DROP COLUMN lines; DROP TABLE pause; DROP TABLE checkpoint;"
            "ALTER TABLE dead_letter DROP COLUMN trace; ALTER TABLE log_1 DROP COLUMN trace;"
            " PRAGMA user_version = 1;"
        )

    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=10, ordered=True) as cursor,
    ):
        assert (await first(cursor)).event.id == "2"
        assert (await channel.books())[TRIGGER].delivered == 1
        await channel.pauses.put(TRIGGER, Pause(why="a test", since=datetime.now(UTC)))
        assert TRIGGER in await channel.pauses.all()
        await channel.checkpoints.put("PingSource default/tick", b"1")
        assert await channel.checkpoints.get("PingSource default/tick") == b"1"
    assert rows(options, "PRAGMA user_version") == [(5,)]


async def test_a_file_of_the_fourth_format_has_a_place_for_spans_in_every_log(
    options: BackendOptions,
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    brokers = ("default/default", "default/other")
    async with EmbeddedBackend.from_url("sqlite:", options) as backend:
        for broker in brokers:
            await (await backend.channel(broker, {}, {})).append([event(1)])
        await (await backend.channel(brokers[0], {}, {})).bury(event(0), REFUSAL)
    with closing(sqlite3.connect(data_file(options))) as connection:
        connection.executescript(
            "".join(
                f"ALTER TABLE {table} DROP COLUMN trace;"
                for table in ("dead_letter", "log_1", "log_2")
            )
            + "PRAGMA user_version = 4;"
        )

    async with EmbeddedBackend.from_url("sqlite:", options) as backend:
        for broker in brokers:
            channel = await backend.channel(broker, {}, {})
            await channel.append([replace(event(2), trace=trace)])
            await channel.bury(replace(event(3), trace=trace), REFUSAL)
            stored = [each.event for each in await channel.history()]
            assert [each.trace for each in stored] == [None, trace]
        letters = await (await backend.channel(brokers[0], {}, {})).dead_letters.list()
        assert [each.event.trace for each in letters] == [None, trace]


async def test_a_file_replaced_behind_our_back_is_noticed(options: BackendOptions) -> None:
    path = data_file(options)
    async with running(options) as (_, channel):
        await channel.append([event(1)])
        shutil.copy(path, path.with_suffix(".copy"))
        path.with_suffix(".copy").replace(path)

        with pytest.raises(ChannelUnavailable, match="removed or replaced"):
            await channel.append([event(2)])


# --- a full disk ---------------------------------------------------------------------------


async def test_a_full_disk_refuses_events_loses_none_and_heals(options: BackendOptions) -> None:
    async with (
        running(options) as (backend, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor,
    ):
        await channel.append([event(0)])
        claim = await first(cursor)
        await backend._store.write(lambda writer: writer.execute("PRAGMA max_page_count = 1"))
        stored, refused = await fill_the_disk(channel, start=1)
        assert "the disk is full; free some space" in str(refused)
        assert refused.retry_after > timedelta(0)
        cursor.settle(claim, Outcome.DELIVERED)
        with pytest.raises(ChannelUnavailable, match="disk is full"):
            await channel.check()

        await backend._store.write(lambda writer: writer.execute("PRAGMA max_page_count = 1000000"))
        async with asyncio.timeout(SOON):
            while not await _available(channel):
                await asyncio.sleep(0.02)
        await channel.append([event(stored)])

    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=1000) as cursor,
    ):
        got = [(await claim).event.id for claim in _next(cursor, stored)]
        assert got == [str(number) for number in range(1, stored + 1)]
        assert (await channel.books())[TRIGGER].unaccounted == 0


async def fill_the_disk(channel: EmbeddedChannel, start: int) -> tuple[int, ChannelUnavailable]:
    """Append one event after the other; return the number of the first that is refused."""
    for number in itertools.count(start):
        try:
            await channel.append([event(number, size=4000)])
        except ChannelUnavailable as refused:
            return number, refused
    raise AssertionError("unreachable")


async def _available(channel: EmbeddedChannel) -> bool:
    try:
        await channel.check()
    except ChannelUnavailable:
        return False
    return True


async def test_more_than_the_disk_keeps_up_with_is_refused_as_full(
    options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.channels.embedded.appends.MAX_PENDING_EVENTS", 10)
    async with running(options) as (_, channel):
        answers = await asyncio.gather(
            *(channel.append([event(number)]) for number in range(30)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, ChannelFull)]

        assert 0 < len(refused) < 30
        assert await channel.accepted() == 30 - len(refused)


# --- retention -----------------------------------------------------------------------------


def positions(options: BackendOptions) -> list[object]:
    return [row[0] for row in rows(options, "SELECT position FROM log_1 ORDER BY position")]


async def test_history_is_bounded_by_age(
    options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, retention_age=timedelta(hours=1))
    async with running(options) as (backend, channel):
        await channel.append([event(number) for number in range(2_500)])
        await asyncio.sleep(0.001)  # so that the clock has moved
        between = clock.now()
        await asyncio.sleep(0.001)
        await channel.append([event(3_000)])

        monkeypatch.setattr(retention, "now", lambda: between + 3_600_000_000)
        assert await retention.trim(backend._store, channel, options) == 2_500
        assert positions(options) == [2_501]


async def test_history_is_bounded_by_size(options: BackendOptions) -> None:
    options = replace(options, retention_bytes=100_000)
    async with running(options) as (backend, channel):
        await channel.append([event(number, size=10_000) for number in range(50)])
        await retention.trim(backend._store, channel, options)

        assert positions(options) == list(range(41, 51))  # the bound, and the event that passes it


async def test_what_a_trigger_waits_for_is_kept_whatever_the_bounds(
    options: BackendOptions,
) -> None:
    options = replace(options, retention_bytes=1)
    async with (
        running(options) as (backend, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=3) as cursor,
    ):
        await channel.append([event(number) for number in range(1, 11)])
        claims = cursor.claims()
        one, two, three = [await anext(claims) for _ in range(3)]
        cursor.defer(two, timedelta(hours=1), attempts=1, condemned=None)
        cursor.settle(one, Outcome.DELIVERED)
        await retention.trim(backend._store, channel, options)
        assert positions(options) == list(range(2, 11))

        cursor.settle(three, Outcome.DELIVERED)
        for _ in range(7):
            cursor.settle(await anext(claims), Outcome.DELIVERED)
        await retention.trim(backend._store, channel, options)
        assert positions(options)[:1] == [2]


async def test_a_trigger_that_has_gone_holds_nothing_back(options: BackendOptions) -> None:
    options = replace(options, retention_bytes=1)
    async with running(options) as (backend, channel):
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=3) as cursor:
            await channel.append([event(number) for number in range(1, 11)])
            claims = cursor.claims()
            cursor.defer(await anext(claims), timedelta(0), attempts=1, condemned=None)
            later, _ = await anext(claims), await anext(claims)  # one stays open
            cursor.defer(later, timedelta(hours=1), attempts=1, condemned=None)
        await retention.trim(backend._store, channel, options)
        assert len(positions(options)) == 10  # it may only be on its way back

        await channel.unsubscribe(TRIGGER)
        await retention.trim(backend._store, channel, options)
        assert positions(options) == [10]

        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=3) as cursor:
            await channel.append([event(11)])
            got = [(await claim).event.id for claim in _next(cursor, 3)]
            assert got == ["3", "10", "11"]
            books = (await channel.books())[TRIGGER]
            assert (books.waiting, books.unaccounted) == (4, 0)  # and one that is due in an hour


async def test_a_trigger_long_gone_is_forgotten(options: BackendOptions) -> None:
    options = replace(options, retention_age=timedelta(0))
    async with running(options) as (backend, channel):
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=3) as cursor:
            await channel.append([event(1)])
            cursor.defer(await first(cursor), timedelta(hours=1), attempts=1, condemned=None)
        await retention.trim(backend._store, channel, options)

    assert rows(options, "SELECT * FROM place") == []
    assert rows(options, "SELECT * FROM deferred") == []


async def test_a_mesh_that_was_down_for_long_forgets_no_trigger(options: BackendOptions) -> None:
    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=3),
    ):
        await channel.append([event(1)])
    with closing(sqlite3.connect(data_file(options))) as connection, connection:
        connection.execute("UPDATE place SET left_time = 0")
        connection.execute("UPDATE log_1 SET at = 0")

    async with running(options) as (backend, channel):
        await retention.trim(backend._store, channel, options)
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=3) as cursor:
            assert (await first(cursor)).event.id == "1"


async def test_positions_are_never_used_again(options: BackendOptions) -> None:
    options = replace(options, retention_age=timedelta(0))
    async with running(options) as (backend, channel):
        await channel.append([event(1), event(2)])
        await retention.trim(backend._store, channel, options)
        assert positions(options) == []
    async with running(options) as (_, channel):
        await channel.append([event(3)])
        assert positions(options) == [3]


async def test_a_trigger_that_leaves_while_its_log_is_read_goes_on_where_it_was(
    options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read, goes_on = asyncio.Event(), asyncio.Event()
    due = Deferrals.due

    async def held_up(
        deferrals: Deferrals, store: Store, room: int
    ) -> Sequence[Held[Record] | None]:
        is_read.set()
        await goes_on.wait()
        return await due(deferrals, store, room)

    async with running(options) as (_, channel):
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor:
            await channel.append([event(1)])
            claim = await first(cursor)
            monkeypatch.setattr(Deferrals, "due", held_up)
            cursor.defer(claim, timedelta(0), attempts=1, condemned=None)
            await is_read.wait()
        goes_on.set()
        async with asyncio.timeout(SOON):
            while channel._places[TRIGGER]._filling:
                await asyncio.sleep(0.001)

    assert rows(options, "SELECT read, left_at FROM place") == [(1, 1)]
    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor,
    ):
        await channel.append([event(2)])
        found = [(await first(cursor)).event.id for _ in range(2)]
    assert sorted(found) == ["1", "2"]


async def test_a_file_in_which_a_trigger_left_without_its_place_is_read_from_where_it_left(
    options: BackendOptions,
) -> None:
    async with running(options) as (_, channel):
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor:
            await channel.append([event(1)])
            cursor.settle(await first(cursor), Outcome.DELIVERED)
        await channel.append([event(2)])
    with closing(sqlite3.connect(data_file(options))) as connection, connection:
        connection.execute("UPDATE place SET read = NULL")  # as earlier versions have left some

    async with (
        running(options) as (_, channel),
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor,
    ):
        assert (await first(cursor)).event.id == "2"


async def test_commits_come_into_the_file_itself_long_before_its_log_is_full(
    options: BackendOptions, tmp_path: Path
) -> None:
    async with running(options) as (_, channel):
        for number in range(65):
            await channel.append([event(number)])
        await channel.dead_letters.remove([])  # which the writer comes to after the checkpoint
        copy = shutil.copy(data_file(options), tmp_path / "without-its-log.db")

    with closing(sqlite3.connect(copy)) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM log_1").fetchall()
    assert count >= 63
