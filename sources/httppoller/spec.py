"""What a HttpPollerSource's ``spec`` says beside its sink."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from broker.connections.web import WebAccess, checked_url, dotted_path
from broker.manifest.durations import PositiveDuration

ALL: Final = "."
"""The path of a list that is all of a body."""


def _url(text: str) -> str:
    return checked_url(text, "http", "https")


def _path(text: str) -> str:
    return text if text == ALL else dotted_path(text)


class HttpPollerSpec(WebAccess):
    """What is asked for, how often, and what of the answer becomes an event.

    Without ``items`` that is the body, whenever it is another one. ``items`` is where in it the
    list is whose elements become an event each; ``item_id`` says where in an element its id is,
    by which it is known again.
    """

    url: Annotated[str, AfterValidator(_url)]
    interval: PositiveDuration = timedelta(minutes=1)
    timeout: PositiveDuration = timedelta(seconds=30)
    items: Annotated[str, AfterValidator(_path)] | None = None
    item_id: Annotated[str, AfterValidator(dotted_path)] | None = None
    max_pages: Annotated[int, Field(ge=1, le=100)] = 1
    max_body_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 8 << 20

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if self.tls is not None and not self.url.lower().startswith("https:"):
            raise ValueError("'tls' is of no use with http://")
        if self.items is None:
            for name, given in (("itemId", self.item_id), ("maxPages", self.max_pages > 1)):
                if given:
                    raise ValueError(f"'{name}' is of no use without 'items'")
        return self
