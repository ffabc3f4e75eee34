"""A record that is no CloudEvent, as one: for the dead-letter store, which keeps events.

What others wrote to a broker's topic must neither be lost nor stop its reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from broker.channels.kafka.compacted import Read
from broker.errors import InvalidEvent
from broker.event import Event, check_attributes

TYPE: Final = "dev.cemesh.kafka.record"

_HEADER: Final = "kafkaheader"  # as Knative's source for Apache Kafka has it
_NOT_IN_A_NAME: Final = re.compile("[^a-z0-9]")
_TIMES: Final = range(253_402_300_800_000)  # up to the year 9999


def event_of_record(record: Read) -> Event:
    """Return an event that tells what the record is and has its value as data.

    ``source`` is ``kafka:TOPIC/PARTITION``, ``id`` ``PARTITION:OFFSET`` and ``time`` the
    record's own. The key is in ``kafkakey`` and each header in ``kafkaheader`` with its name,
    without what no name of an attribute can have; ``content-type`` is in ``datacontenttype``,
    too. Left out is what is no text that an attribute can hold, and the second of a name: the
    record itself is in the topic for as long as that keeps it.
    """
    identity = {
        "specversion": "1.0",
        "id": f"{record.partition}:{record.offset}",
        "source": f"kafka:{record.topic}/{record.partition}",
        "type": TYPE,
    }
    found = {"kafkakey": record.key, "time": _time(record.timestamp)}
    for name, value in record.headers:
        found.setdefault(_HEADER + _NOT_IN_A_NAME.sub("", name.lower()), value)
    found["datacontenttype"] = dict(record.headers).get("content-type")
    attributes = dict(identity)
    for name, value in found.items():
        text = _text(value)
        if text is not None and _is_valid({**identity, name: text}):
            attributes[name] = text
    return Event(attributes, record.value)


def _time(milliseconds: int) -> bytes | None:
    if milliseconds not in _TIMES:  # the record has none, or one that nobody can mean
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _is_valid(attributes: Mapping[str, str]) -> bool:
    try:
        check_attributes(attributes)
    except InvalidEvent:
        return False
    return True
