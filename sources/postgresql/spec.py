"""What a PostgresqlSource's ``spec`` says beside its sink."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator

from broker.connections.postgresql.spec import Columns, EventTable, Identifier
from broker.manifest.durations import PositiveDuration


class OutboxColumns(Columns):
    """``position`` is the key, by which rows come in order; ``emittedAt`` marks what has gone."""

    position: Identifier = "position"
    emitted_at: Identifier = "emitted_at"


def _not_too_often(interval: timedelta) -> timedelta:
    if interval < timedelta(milliseconds=100):
        raise ValueError("is less than PT0.1S")
    return interval


class PostgresqlSourceSpec(EventTable):
    """Which table is read, what becomes of a row that was emitted, and when it is looked at.

    ``channel`` is that of the NOTIFY that wakes the source, which looks every ``poll_interval``
    besides.
    """

    columns: OutboxColumns = OutboxColumns()
    on_emitted: Literal["delete", "mark"] = "delete"
    channel: Identifier | None = None
    poll_interval: Annotated[PositiveDuration, AfterValidator(_not_too_often)] = timedelta(
        seconds=5
    )
