"""The outbox: which rows have not been emitted yet, in the order of their keys.

No place is kept in it. Numbers of a sequence are handed out before their transactions commit, so
a row may become visible after others with higher numbers, and ``position > last`` would pass it
over for ever. What is still in the table, or not marked, is what has to be emitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from asyncpg import Record

from broker.connections.postgresql.connecting import Connection
from broker.connections.postgresql.tables import JSON_TYPES, Table, UnfitTable, find_table
from sources.postgresql.rows import ATTRIBUTES, Row
from sources.postgresql.spec import PostgresqlSourceSpec

MOST: Final = 500
"""Rows that are read at once."""

_MOST_BYTES: Final = 8 << 20
"""No more rows are fetched once those that there are have so many bytes of data."""

_FETCHED: Final = 25
_MOST_COUNTED: Final = 10_000
_TIME: Final = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# One key for each row: what is deleted, or marked, by its key is then what was emitted.
_IS_KEY: Final = """
SELECT relkind NOT IN ('r', 'p') OR EXISTS (
  SELECT FROM pg_index AS i JOIN pg_attribute AS a ON attrelid = indrelid AND attnum = indkey[0]
   WHERE indrelid = c.oid AND indisunique AND indisvalid AND indpred IS NULL AND indnkeyatts = 1
     AND attname = $2 AND attnotnull)
  FROM pg_class AS c WHERE c.oid = $1
"""


class Outbox:
    """The rows of one table, by one connection. Whatever asks the server raises `FAILURES`."""

    def __init__(self, connection: Connection, spec: PostgresqlSourceSpec, table: Table) -> None:
        self._connection = connection
        self._attributes = [each for each in ATTRIBUTES if each in table.columns]
        marks = spec.on_emitted == "mark"
        key = table.columns["position"].name
        waits = f"{table.columns['emitted_at'].name} IS NULL" if marks else "true"
        data = table.columns.get("data")
        self._is_json = data is not None and data.type in JSON_TYPES
        # All names are quoted identifiers of the catalogue, and no value stands in the text. `o`
        # says that it is the column that sorts, and not its text, which has the same name.
        name = table.name
        self._select = (
            f"SELECT o.{key} AS key, {', '.join(_selected(table))} "  # noqa: S608 - see above
            f"FROM {name} AS o WHERE {waits} ORDER BY o.{key} LIMIT {MOST}"
        )
        some = f"SELECT FROM {name} WHERE {waits} LIMIT {_MOST_COUNTED}"
        self._count = f"SELECT count(*) FROM ({some}) AS waiting"  # noqa: S608 - see above
        self._done = f"DELETE FROM {name} WHERE {key} = ANY($1)"  # noqa: S608 - see above
        if marks:
            mark = table.columns["emitted_at"].name
            self._done = f"UPDATE {name} SET {mark} = now() WHERE {key} = ANY($1)"  # noqa: S608 - see above

    @classmethod
    async def find(cls, connection: Connection, spec: PostgresqlSourceSpec) -> Self:
        """Return the outbox, which can be read and cleared. Raises `UnfitTable` besides."""
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            raise UnfitTable(
                "it is read-only, as a standby is, and no row could be deleted or marked"
            )
        marks = spec.on_emitted == "mark"
        needed = {"position", "id", "type", *(["emitted_at"] if marks else [])}
        table = await find_table(connection, spec, spec.columns, needed=needed)
        table.demand_types()
        table.demand("SELECT", *(each for each in table.columns if each != "emitted_at"))
        if marks:
            table.demand("SELECT", "emitted_at")
            table.demand("UPDATE", "emitted_at")
        elif not await connection.fetchval(
            "SELECT has_table_privilege($1::oid, 'DELETE')", table.oid
        ):
            raise table.not_allowed("DELETE")
        if not await connection.fetchval(_IS_KEY, table.oid, spec.columns.position):
            key = table.columns["position"].name
            raise UnfitTable(
                f"the column {key} of {table.name} may be null, or the same in two rows, which "
                f"could not be told apart: ALTER TABLE {table.name} ADD UNIQUE ({key}), "
                f"ALTER {key} SET NOT NULL"
            )
        outbox = cls(connection, spec, table)
        # What it cannot do, for the type of a column say, is known before anything is emitted.
        await connection.prepare(outbox._done)
        return outbox

    async def read(self) -> Sequence[Row]:
        """Return the first rows that have not been emitted, up to MOST and about 8 MiB.

        Where it fails or is cancelled, the connection can only be closed.
        """
        rows: list[Row] = []
        size = 0
        # Left as a context, it would be rolled back, and the answer to that waited for, also where
        # the server has none: closed, the connection ends it as well.
        transaction = self._connection.transaction(readonly=True)
        await transaction.start()
        cursor = await self._connection.cursor(self._select)
        while size < _MOST_BYTES and (found := await cursor.fetch(_FETCHED)):
            rows += [self._row(each) for each in found]
            size += sum(len(each.data or b"") for each in rows[-len(found) :])
        await transaction.commit()
        return rows

    async def done(self, rows: Sequence[Row]) -> int:
        """Delete or mark the rows, durably, and return how many of them there were."""
        told = await self._connection.execute(self._done, [each.key for each in rows])
        return int(told.rpartition(" ")[2])

    async def waiting(self) -> int:
        """Return how many rows wait; beyond 10,000 they are not counted."""
        return int(await self._connection.fetchval(self._count))

    def _row(self, record: Record) -> Row:
        data = record["data"]
        return Row(
            key=record["key"],
            position=record["position"],
            attributes={name: record[name] for name in self._attributes},
            extensions=record["extensions"],
            data=data.encode() if isinstance(data, str) else data,
            json=self._is_json,
        )


def _selected(table: Table) -> Sequence[str]:
    """Return the columns as text, but for payloads that are bytes; null for those that are not."""
    wanted = []
    for field in ("position", *ATTRIBUTES, "extensions", "data"):
        column = table.columns.get(field)
        if column is None:
            text = "NULL::text"
        elif column.type == "bytea" and field == "data":
            text = column.name
        elif column.type == "timestamp with time zone" and field == "time":
            text = _TIME.format(column.name)
        else:
            text = f"{column.name}::text"
        wanted.append(f"{text} AS {field}")
    return wanted
