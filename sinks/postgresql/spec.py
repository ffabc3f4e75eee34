"""What a PostgresqlSink's ``spec`` says."""

from __future__ import annotations

from broker.connections.postgresql.spec import Columns, EventTable


class PostgresqlSinkSpec(EventTable):
    """Which table takes the rows.

    ``idempotent``: an event whose ``source`` and ``id`` are there already is taken, and makes no
    row. The table needs a unique constraint on both for that.
    """

    columns: Columns = Columns()
    idempotent: bool = True
