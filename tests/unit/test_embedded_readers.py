"""What reads the embedded channel's file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from broker.channels.embedded import EmbeddedBackend
from broker.channels.embedded.store import Store
from broker.filters import EVERYTHING
from broker.ports import BackendOptions
from tests.unit.meshes import make_event


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    await store.open()
    yield store
    await store.close()


async def test_a_read_sees_what_was_committed_before_it_although_another_is_under_way(
    store: Store,
) -> None:
    begun, done = threading.Event(), threading.Event()

    def count(reader: sqlite3.Connection) -> int:
        (count,) = reader.execute("SELECT count(*) FROM broker").fetchone()
        return int(count)

    def insert(name: str) -> None:
        store_write = "INSERT INTO broker (key, tail, total, swept, accepted) VALUES (?,0,0,0,0)"
        with sqlite3.connect(store.path) as writer:
            writer.execute(store_write, (name,))
        writer.close()

    def linger(reader: sqlite3.Connection) -> int:
        rows = reader.execute("SELECT key FROM broker")
        seen = [next(rows)]
        begun.set()
        assert done.wait(10)
        return len([*seen, *rows])

    insert("default/first")
    insert("default/second")
    # Each thread has read once, so that each has had its connection made.
    together = threading.Barrier(2)
    await asyncio.gather(*(store.read(lambda _: together.wait(10)) for _ in range(2)))
    lingering = asyncio.create_task(store.read(linger))
    assert await asyncio.to_thread(begun.wait, 10)
    insert("default/third")
    try:
        assert await store.read(count) == 3
    finally:
        done.set()
    assert await lingering == 2


async def test_books_are_told_by_a_reader_that_cannot_open_the_file(tmp_path: Path) -> None:
    folder, gone = tmp_path / "data", tmp_path / "gone"
    options = BackendOptions(
        data_dir=str(folder), retention_age=timedelta(days=1), retention_bytes=1 << 20
    )
    async with EmbeddedBackend.from_url("sqlite:", options) as backend:
        channel = await backend.channel("default/default", {}, {})
        async with channel.subscribe("default/one", filter=EVERYTHING, window=1):
            await channel.append([make_event("1")])
            folder.rename(gone)
            try:
                books = (await channel.books())["default/one"]
            finally:
                gone.rename(folder)
    assert (books.matched, books.waiting) == (1, 1)
