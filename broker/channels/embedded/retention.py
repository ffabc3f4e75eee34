"""Keeps the history within its bounds of age and size, and never touches what is needed."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from broker.channels.clock import now
from broker.channels.embedded.channel import EmbeddedChannel
from broker.channels.embedded.store import Store
from broker.errors import ChannelUnavailable
from broker.ports import BackendOptions

_log: Final = logging.getLogger("cemesh.channel")

INTERVAL: Final = timedelta(seconds=10)

_AT_ONCE: Final = 1_000
"""Events removed in one transaction, so that appends need not wait long for the writer."""


async def keep_bounds(
    store: Store, channels: Iterable[EmbeddedChannel], options: BackendOptions
) -> None:
    """Trim all channels, again and again, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL.total_seconds())
        for channel in list(channels):
            try:
                await trim(store, channel, options)
            except ChannelUnavailable as error:
                _log.warning("cannot trim", extra={"broker": channel.key, "why": str(error)})


async def trim(store: Store, channel: EmbeddedChannel, options: BackendOptions) -> int:
    """Remove what is beyond the bounds and not needed; return how many events that was.

    Raises `ChannelUnavailable`.
    """
    cutoff = now() - int(options.retention_age.total_seconds() * 1e6)
    forgotten = channel.forget_places(cutoff)
    if forgotten:
        await store.write(lambda writer: _forget(writer, forgotten))
        _log.info("triggers forgotten", extra={"broker": channel.key, "count": len(forgotten)})
    removed = 0
    while True:
        first_needed, needing = channel.needed(cutoff)
        bounds = _Bounds(first_needed=first_needed, before=cutoff, size=options.retention_bytes)
        at_once = await store.write(partial(_remove, channel, bounds, needing))
        removed += at_once
        if at_once < _AT_ONCE:
            return removed


def _forget(writer: sqlite3.Connection, places: Iterable[int]) -> None:
    rows = [(place,) for place in places]
    writer.executemany("DELETE FROM deferred WHERE place = ?", rows)
    writer.executemany("DELETE FROM place WHERE id = ?", rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    """Kept are positions from ``first_needed`` on, what came after ``before``, and ``size``."""

    first_needed: int
    before: int
    size: int


def _remove(
    channel: EmbeddedChannel, bounds: _Bounds, needing: Iterable[int], writer: sqlite3.Connection
) -> int:
    """Remove some of what lies before the bounds; return how many events that was."""
    table = channel.log_table
    first_needed = bounds.first_needed
    for place in needing:
        query = "SELECT min(position) FROM deferred WHERE place = ?"
        (deferred,) = writer.execute(query, (place,)).fetchone()
        first_needed = first_needed if deferred is None else min(first_needed, deferred)
    return writer.execute(
        f"DELETE FROM {table} WHERE position < ?"
        f" AND position < (SELECT min(position) FROM {table}) + ?"
        " AND (at < ? OR total <= (SELECT total FROM broker WHERE id = ?) - ?)",
        (first_needed, _AT_ONCE, bounds.before, channel.id, bounds.size),
    ).rowcount
