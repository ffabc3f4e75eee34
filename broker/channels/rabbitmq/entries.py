"""What the processes of a broker tell each other: the entries of its stream of what is known.

An entry is one message, in MessagePack. It tells what is new; all that was told before goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from broker.ports import Pause, Refusal

Stamped = Mapping[str, Sequence[str]]
"""Stamps of messages, by trigger: one that went to several queues has the same stamp in each."""


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What a process has counted for a trigger since the process began.

    ``taken`` is what it took in hand and did not give back. Everything for the trigger that was
    accepted before ``floor`` (microseconds since 1970) was received, by it or by others.
    """

    delivered: int = 0
    dead_lettered: int = 0
    taken: int = 0
    in_hand: int = 0
    floor: int | None = None


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a delivery that keeps its turn; ``due`` in microseconds since 1970."""

    attempts: int
    condemned: Refusal | None = None
    due: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a trigger stands: whether it runs, or was removed.

    When it returns, its queue is to be filled with what was accepted at ``since`` (microseconds
    since 1970) or later, but for what was ``settled`` of that already. ``left`` are messages that
    had taken the place of one that counts as settled, and are to come nevertheless. ``queues`` are
    those that it has. The last of them is bound by the headers ``bindings``, and by ``keys`` where
    there are any (see `routing.Routes`); while that is ``changing``, by what it was and will be
    bound by, as far as that was done. Older versions of the mesh know of the headers alone.
    """

    gone: bool = False
    since: int = 0
    settled: Sequence[str] = field(default_factory=list)
    queues: Sequence[str] = field(default_factory=list)
    bindings: Sequence[Mapping[str, str | None]] = field(default_factory=list)
    keys: Sequence[str] = field(default_factory=list)
    changing: bool = False
    left: Sequence[str] = field(default_factory=list)


class Summary(msgspec.Struct, frozen=True):
    """All that the entries up to the offset ``through`` have told: see `Ledger.summary`.

    ``melting`` has
    the processes that are known as one sum from here on, unless they wrote more than the entry
    with this number before the summary was stored.
    """

    through: int
    contents: msgspec.Raw
    melting: Mapping[str, int] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one process tells.

    ``process``, ``number``, ``at`` (microseconds since 1970), ``melted`` and ``summed`` are filled
    in when it is written. ``melted``, where it is given, tells that these are all counts of a
    process that others may not know; it has those counts of it that they know in their sum.
    ``summed`` is up to which offset a summary covers all.

    ``counts`` are cumulative, those of triggers where they changed. ``settled`` are the messages
    that these counts are about for the first time; ``acked`` tells that those of this process's
    entries up to that number cannot come again. ``waits`` are how many deliveries were put off,
    and up to when (microseconds since 1970), beside all that were told before. ``held`` ends with
    the settling of that stamp. ``places`` and ``pauses`` hold until somebody tells another; a pause
    that is None has ended. ``ended`` tells that the process has nothing in hand any more.
    """

    process: str = ""
    number: int = 0
    at: int = 0
    melted: Mapping[str, Counts] | None = None
    summed: int | None = None
    counts: Mapping[str, Counts] = {}
    settled: Stamped = {}
    acked: int = 0
    waits: Mapping[str, Sequence[tuple[int, int]]] = {}
    held: Mapping[str, Mapping[str, Held]] = {}
    places: Mapping[str, Place] = {}
    pauses: Mapping[str, Pause | None] = {}
    ended: bool = False
    summary: Summary | None = None


UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for what others wrote."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    return _encoder.encode(entry)


def decode(body: bytes) -> Entry | None:
    """Return the entry that a message has as its body, or None if it has none: others wrote it."""
    try:
        entry = _decoder.decode(body)
    except UNREADABLE:
        return None
    return entry if entry.process and entry.number > 0 else None
