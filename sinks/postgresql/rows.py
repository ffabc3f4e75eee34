"""The row that an event becomes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import msgspec

from broker.connections.postgresql.tables import JSON_TYPES, Table
from broker.event import Event
from broker.formats import is_json

Values = Sequence[str | bytes | None]

NEEDED: Final = ("id", "source", "type", "data", "extensions")

_TEXTS: Final = frozenset({"text", "character varying", "character", "name"})

_OTHERS: Final = ("subject", "time", "datacontenttype", "dataschema")
"""What stands among the extensions where it has no column."""


class Rows:
    """How events become rows of this table."""

    def __init__(self, table: Table, *, unique: Sequence[str]) -> None:
        self._attributes = [
            each for each in ("id", "source", "type", *_OTHERS) if each in table.columns
        ]
        self._data_type = table.columns["data"].type
        fields = (*self._attributes, "extensions", "data")
        columns = [table.columns[each] for each in fields]
        names = ", ".join(each.name for each in columns)
        values = ", ".join(_value(number, each.type) for number, each in enumerate(columns, 1))
        self.insert = f"INSERT INTO {table.name} ({names}) VALUES ({values})"  # noqa: S608 - names are quoted, types the catalogue's
        if unique:
            keys = ", ".join(table.columns[each].name for each in unique)
            self.insert += f" ON CONFLICT ({keys}) DO NOTHING"

    def values(self, event: Event) -> Values:
        """Return the parameters of `insert`; raises `ValueError` where the table cannot hold it."""
        attributes = event.attributes
        own = (*self._attributes, "specversion")
        extensions = {name: value for name, value in event.typed.items() if name not in own}
        return [
            *(attributes.get(name) for name in self._attributes),
            msgspec.json.encode(extensions).decode() if extensions else None,
            self._data(event),
        ]

    def _data(self, event: Event) -> str | bytes | None:
        data = event.data
        if data is None or self._data_type == "bytea":
            return data
        if self._data_type in JSON_TYPES:
            content_type = event.attributes.get("datacontenttype")
            if content_type is not None and not is_json(content_type):
                raise ValueError(
                    f"the payload is {content_type}, and the column 'data' is {self._data_type}; "
                    "one of the type bytea takes any payload"
                )
            try:
                json.loads(data)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"the payload is not JSON: {error}") from error
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ValueError(
                f"the payload is not UTF-8, and the column 'data' is {self._data_type}; "
                "one of the type bytea takes any payload"
            ) from None


def _value(number: int, type: str) -> str:
    """Return the parameter of that number, as text for the server to read and to say what is wrong.

    Text is not cast: of what is too long a cast takes the beginning, and an assignment refuses it.
    """
    if type == "bytea":
        return f"${number}"
    return f"${number}::text" if type in _TEXTS else f"CAST(${number}::text AS {type})"
