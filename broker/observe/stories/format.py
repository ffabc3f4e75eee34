"""Entries as they are stored: some hundreds to a block, in which each text stands once.

A row is a struct of numbers, most of them the places of its texts among the block's names, and the
event's id. That is a third of the bytes, and less work than to write each entry by itself; and
nothing is kept of what is otherwise gone at once, so that the processor's caches keep what they
are for. Whether a block has anything of an event is told by its keys, 32 bits of a hash for each
id, without reading its rows.

    accepted  kind, at, length of the id, source, type, broker, origin, who, cause's source and id
    attempt   kind, at, length of the id, accepted at, number, microseconds, source, type, trigger,
              to, destination, verdict, status, headers, body, reason, reply's source and id,
              untried, trace
    decision  kind, at, length of the id, source, type, trigger, became, until, attempts, reason

Times are in microseconds since 1970; -1 stands for what is not there.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final, NamedTuple
from zlib import crc32

from broker.ports.stories import Became, Outcome

ACCEPTED, ATTEMPT, DECISION = range(3)
HEAD, ARRIVAL, TIMES, WAY, ANSWER, DECISION_ROW = (
    "<BqI",
    "iiiiiii",
    "qiq",
    "iiiBi",
    "BiiiiiiBi",
    "iiiiqii",
)
"""What rows are put together from."""

STRUCTS: Final = tuple(
    Struct(HEAD + rest) for rest in (ARRIVAL, TIMES + WAY + ANSWER, DECISION_ROW)
)
"""The numbers of each kind."""

NONE: Final = -1

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

TO: Final = ("subscriber", "dead-letter sink")
VERDICTS: Final = ("delivered", "retry", "give up")

FLAGS: Final[dict[Outcome, int]] = {"delivered": 1, "waiting": 2, "parked": 4, "dead-lettered": 8}
"""Which of these there may be in a block, as a sum."""

FLAG_OF: Final[Mapping[Became, int]] = {
    "waits": FLAGS["waiting"],
    "retried": FLAGS["waiting"],
    "parked": FLAGS["parked"],
    "dead-lettered": FLAGS["dead-lettered"],
    "buried": FLAGS["dead-lettered"],
}

LEADS: Final[Mapping[str, Sequence[Became]]] = {
    "waiting": ("waits", "retried"),
    "parked": ("parked",),
    "dead-lettered": ("dead-lettered", "buried"),
}
"""What a claim became that leads to an outcome, beside a delivery."""

Row = Sequence[Any]
"""A row as it is read: its numbers, and the bytes of the id in place of their length."""


class Block(NamedTuple):
    """What is stored. Times are in microseconds since 1970, ``keys`` 32-bit words."""

    first: int
    last: int
    flags: int
    keys: bytes
    names: bytes
    rows: bytes


key_of: Final = crc32
"""Returns the word that stands for an id, in UTF-8, among a block's keys."""

pack_head: Final = Struct(HEAD).pack
pack_times: Final = Struct(f"<{TIMES}").pack
"""Pack what every row begins with, and what follows of an attempt."""


def keys_in(words: bytes) -> array[int]:
    """Return the keys of a block."""
    return array("I", words)


def word_of(key: int) -> bytes:
    """Return a key as it stands among those of a block."""
    return key.to_bytes(4, sys.byteorder)


def moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND
