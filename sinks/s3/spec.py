"""What a S3Sink's ``spec`` says, and the keys of the objects that it makes."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from broker.connections.s3 import S3Access, no_hidden
from broker.event import Event

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")
_LONGEST: Final = 1024  # bytes of a key
_OURS: Final = frozenset({"date", "hash"})
_DOTS: Final = frozenset({".", ".."})


def _template(text: str) -> str:
    names = set(_PLACEHOLDER.findall(text))
    for name in names:
        if not _ATTRIBUTE.fullmatch(name) or name == "data":
            raise ValueError(f"'{{{name}}}' is not the name of an attribute: a-z and 0-9")
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        raise ValueError("has a brace that belongs to no {attribute}")
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

        def value(found: re.Match[str]) -> str:
            name = found[1]
            text = _ours(name, event) if name in _OURS else event.attributes.get(name)
            if not text:
                raise ValueError(f"the event has no '{name}', which its key is made of")
            # One attribute is one part of a path, whatever stands in it.
            return text.replace(".", "%2E") if text in _DOTS else quote(text, safe=" :@+=,")

        key = _PLACEHOLDER.sub(value, self.key)
        if len(key.encode()) > _LONGEST:
            raise ValueError(f"its key would be longer than {_LONGEST:,} bytes; {{hash}} is short")
        return key


def _ours(name: str, event: Event) -> str:
    if name == "date":
        # Not today's where it has none: tried again tomorrow, it would be another object.
        return event.attributes.get("time", "undated")[:10].lower()
    identity = f"{event.source}\0{event.id}".encode()
    return hashlib.sha256(identity).hexdigest()[:32]
