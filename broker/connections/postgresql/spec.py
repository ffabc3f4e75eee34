"""What a ``spec`` says of a server, a database and a table of events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, ConfigDict, model_validator

from broker.characters import hidden, misfit
from broker.connections.tls import Tls
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText, revealed

_PORT: Final = 5432
_LONGEST_NAME: Final = 63
_TABLE: Final = re.compile(r"[^.\0\"]+(?:\.[^.\0\"]+)?")
_FORM: Final = "postgresql://HOST:PORT/DATABASE"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = _is_whole(parts)
    except ValueError:  # a port that is none, or brackets that do not close
        raise ValueError(f"is not of the form {_FORM}") from None
    if "@" in parts.netloc:
        # Not repeated here: it may hold a password.
        raise ValueError(f"has a user in it; write {_FORM}, and 'user' and 'password' beside it")
    if not known:
        raise ValueError(f"'{text}' is not of the form {_FORM}")
    return text


def _is_whole(parts: SplitResult) -> bool:
    return (
        parts.scheme in ("postgresql", "postgres")
        and bool(parts.hostname)
        and parts.port != 0
        and "/" not in parts.path[1:]
        and len(parts.path) > 1
        and not parts.query
        and not parts.fragment
    )


def _identifier(text: str) -> str:
    """Return the name of a column or a channel as it is; raises `ValueError` where it is none."""
    if not text or "\0" in text or len(text.encode()) > _LONGEST_NAME:
        raise ValueError(f"'{text}' is no name: 1 to {_LONGEST_NAME} bytes, and no NUL")
    return text


def _table(text: str) -> str:
    if not _TABLE.fullmatch(text):
        raise ValueError(f"'{text}' is not of the form TABLE or SCHEMA.TABLE")
    for part in text.split("."):
        _identifier(part)
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]


class Columns(Shape):
    """What the columns of a table of events are called, each by the attribute that it holds."""

    id: Identifier = "id"
    source: Identifier = "source"
    type: Identifier = "type"
    subject: Identifier = "subject"
    time: Identifier = "time"
    datacontenttype: Identifier = "datacontenttype"
    dataschema: Identifier = "dataschema"
    data: Identifier = "data"
    extensions: Identifier = "extensions"

    @model_validator(mode="after")
    def _are_there_once(self) -> Self:
        fields: dict[str, str] = {}
        for field, column in self.by_field.items():
            if field not in _MAY_BE_ANOTHERS:
                other = fields.setdefault(column, field)
                if other != field:
                    raise ValueError(f"'{other}' and '{field}' are both in the column '{column}'")
        return self

    @property
    def by_field(self) -> Mapping[str, str]:
        return {name: getattr(self, name) for name in type(self).model_fields}


_MAY_BE_ANOTHERS: Final = frozenset({"position"})
"""The key of an outbox is often the id of its events as well."""


class Server(Shape):
    """Where the database is, and who comes."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)]
    user: SecretText
    password: SecretText | None = None
    tls: Tls = Tls()

    @model_validator(mode="after")
    def _says_who_comes(self) -> Self:
        for name, secret in (("user", self.user), ("password", self.password)):
            text = revealed(secret)
            if text == "":
                raise ValueError(f"'{name}' is empty")
            index = None if text is None else hidden(text)
            if text is not None and index is not None:
                raise ValueError(f"'{name}' {misfit(text, index, f'PostgreSQL {name}')}")
        return self

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or _PORT

    @property
    def database(self) -> str:
        return unquote(urlsplit(self.url).path[1:])

    @property
    def address(self) -> str:
        """What operators are told of it."""
        return f"PostgreSQL at {self.host}:{self.port}, database {self.database}"


class EventTable(Server):
    """A table of events in it, and what its columns are called."""

    table: Annotated[str, AfterValidator(_table)]

    @property
    def quoted_table(self) -> str:
        """The table, as SQL has it: case and all."""
        return ".".join(map(quoted, self.table.split(".")))


def quoted(name: str) -> str:
    """Return an identifier as SQL has it: case and all."""
    return '"{}"'.format(name.replace('"', '""'))
