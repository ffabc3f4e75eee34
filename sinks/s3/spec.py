"""What a S3Sink's ``spec`` says, and the keys of the objects that it makes."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from broker.connections.s3 import S3Access, no_hidden
from broker.connections.templates import checked_template, filled, names_in
from broker.event import Event

_LONGEST: Final = 1024  # bytes of a key
_OURS: Final = frozenset({"date", "hash"})
_DOTS: Final = frozenset({".", ".."})


def _template(text: str) -> str:
    names = names_in(checked_template(text))
    if "hash" not in names and not names >= {"source", "id"}:
        raise ValueError(
            "has neither {hash}, nor {source} and {id}: an event would overwrite another"
        )
    if text.startswith("/"):
        raise ValueError("begins with '/', so that the first folder would have no name")
    return no_hidden(text)


class S3SinkSpec(S3Access):
    """Where the objects go, and what is in them.

    ``key`` may have attributes in it, in braces; ``{date}`` is the day of the event's ``time``, and
    ``{hash}`` is made of its ``source`` and ``id``, by which the same event has the same key.
    """

    key: Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_template)] = (
        "{type}/{date}/{hash}"
    )
    content_mode: Literal["binary", "structured"] = "structured"

    def key_of(self, event: Event) -> str:
        """Return the key of the event's object; raises `ValueError` where it can have none."""

        def value(name: str) -> str | None:
            text = _ours(name, event) if name in _OURS else event.attributes.get(name)
            if not text:
                return None  # a folder without a name would be none
            # One attribute is one part of a path, whatever stands in it.
            return text.replace(".", "%2E") if text in _DOTS else quote(text, safe=" :@+=,")

        key = filled(self.key, value, made="its key")
        if len(key.encode()) > _LONGEST:
            raise ValueError(f"its key would be longer than {_LONGEST:,} bytes; {{hash}} is short")
        return key


def _ours(name: str, event: Event) -> str:
    if name == "date":
        # Not today's where it has none: tried again tomorrow, it would be another object.
        return event.attributes.get("time", "undated")[:10].lower()
    identity = f"{event.source}\0{event.id}".encode()
    return hashlib.sha256(identity).hexdigest()[:32]
