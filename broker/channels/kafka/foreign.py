"""A record that is no CloudEvent, as one: for the dead-letter store, which keeps events.

What others wrote to a broker's topic must neither be lost nor stop its reader.
"""

from __future__ import annotations

from typing import Final

from broker.channels.kafka.compacted import Read
from broker.codecs.fitting import fitting, named, text_of, time_of
from broker.event import Event

TYPE: Final = "dev.cemesh.kafka.record"


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
    found = {"kafkakey": text_of(record.key), "time": time_of(record.timestamp)}
    found |= named("kafkaheader", ((name, text_of(value)) for name, value in record.headers))
    found["datacontenttype"] = text_of(dict(record.headers).get("content-type"))
    return Event(fitting(identity, found), record.value)
