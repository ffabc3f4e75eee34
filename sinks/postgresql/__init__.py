"""PostgresqlSink: a row for each event."""

from __future__ import annotations

from sinks.postgresql.sink import PostgresqlSink
from sinks.postgresql.spec import PostgresqlSinkSpec

__all__ = ["PostgresqlSink", "PostgresqlSinkSpec"]
