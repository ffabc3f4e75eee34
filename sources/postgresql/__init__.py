"""PostgresqlSource: the rows of an outbox table."""

from __future__ import annotations

from sources.postgresql.source import PostgresqlSource
from sources.postgresql.spec import PostgresqlSourceSpec

__all__ = ["PostgresqlSource", "PostgresqlSourceSpec"]
