"""What a table of events is like, and what about it keeps it from being used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from broker.connections.postgresql.connecting import Connection
from broker.connections.postgresql.spec import Columns, EventTable, quoted
from broker.errors import CemeshError, did_you_mean
from broker.manifest.specs import revealed

JSON_TYPES: Final = frozenset({"json", "jsonb"})
TIME_TYPES: Final = frozenset({"timestamp with time zone", "text", "character varying"})

_COLUMNS: Final = """
SELECT attname::text AS name,
       format_type(coalesce(nullif(typbasetype, 0), atttypid), NULL) AS type,
       has_column_privilege(attrelid, attnum, 'SELECT') AS read,
       has_column_privilege(attrelid, attnum, 'INSERT') AS insert,
       has_column_privilege(attrelid, attnum, 'UPDATE') AS update
  FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
 WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
"""


class UnfitTable(CemeshError):
    """The table is not there, lacks a column, or may not be used. Says what SQL would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that is there: its name as SQL has it, its type, and what we may do with it."""

    name: str
    type: str
    may: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that is there. ``columns`` has those that there are, by field."""

    oid: int
    name: str
    user: str
    columns: Mapping[str, Column]

    def demand(self, action: str, *fields: str) -> None:
        """Raise `UnfitTable` unless we may SELECT, INSERT or UPDATE these columns."""
        for field in fields:
            column = self.columns[field]
            if action not in column.may:
                raise self.not_allowed(action)

    def not_allowed(self, action: str) -> UnfitTable:
        return UnfitTable(
            f"the user may not {action} in {self.name}: "
            f"GRANT {action} ON {self.name} TO {quoted(self.user)}"
        )

    def demand_types(self) -> None:
        """Raise `UnfitTable` where a column can hold no event's time, or no extensions."""
        for field, types in (("time", TIME_TYPES), ("extensions", JSON_TYPES)):
            column = self.columns.get(field)
            if column is not None and column.type not in types:
                wanted = "timestamptz or text" if field == "time" else "jsonb or json"
                raise UnfitTable(
                    f"the column {column.name} of {self.name} is of the type {column.type}, and "
                    f"'{field}' takes {wanted}"
                )


async def find_table(
    connection: Connection, spec: EventTable, columns: Columns, *, needed: Collection[str]
) -> Table:
    """Return what the table is like; it has columns for the ``needed`` fields.

    And for those that the manifest names. Raises `UnfitTable`.
    """
    name = spec.quoted_table
    oid = await connection.fetchval("SELECT to_regclass($1)::oid", name)
    if oid is None:
        raise UnfitTable(
            f"there is no table {name} in the database {spec.database}, or no schema of that "
            "name that the user may use; the page of this kind shows a CREATE TABLE"
        )
    found = {
        row["name"]: Column(
            name=quoted(row["name"]),
            type=row["type"],
            may=[
                action
                for action, may in (
                    ("SELECT", row["read"]),
                    ("INSERT", row["insert"]),
                    ("UPDATE", row["update"]),
                )
                if may
            ],
        )
        for row in await connection.fetch(_COLUMNS, oid)
    }
    named = columns.by_field
    for field in named:
        if named[field] not in found and (field in needed or field in columns.model_fields_set):
            hint = did_you_mean(named[field], found)
            raise UnfitTable(
                f"the table {name} has no column {quoted(named[field])}{hint}, where '{field}' "
                "should be; add it, or name another in 'columns'"
            )
    return Table(
        oid=oid,
        name=name,
        user=revealed(spec.user) or "",
        columns={field: found[column] for field, column in named.items() if column in found},
    )
