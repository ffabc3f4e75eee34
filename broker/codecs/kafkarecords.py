"""What a record of Kafka that is no CloudEvent tells, as attributes of an event can."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from broker.errors import InvalidEvent
from broker.event import check_attributes

_HEADER: Final = "kafkaheader"  # as Knative's source for Apache Kafka has it
_NOT_IN_A_NAME: Final = re.compile("[^a-z0-9]")
_TIMES: Final = range(253_402_300_800_000)  # up to the year 9999


def attribute_of_header(name: str) -> str:
    """Return the attribute that a header is in, without what no name of one can have."""
    return _HEADER + _NOT_IN_A_NAME.sub("", name.lower())


def time_of(milliseconds: int) -> str | None:
    """Return the time of a record, or None where it has none, or one that nobody can mean."""
    if milliseconds not in _TIMES:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(value: bytes | None) -> str | None:
    """Return the text, or None where there is none, or it is not UTF-8."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def fitting(identity: Mapping[str, str], found: Mapping[str, str | None]) -> dict[str, str]:
    """Return ``identity``, that of a valid event, and what of ``found`` such an event can have."""
    return {
        **identity,
        **{
            name: text
            for name, text in found.items()
            if text is not None and are_valid({**identity, name: text})
        },
    }


def are_valid(attributes: Mapping[str, str]) -> bool:
    """Return whether an event can have these attributes."""
    try:
        check_attributes(attributes)
    except InvalidEvent:
        return False
    return True
