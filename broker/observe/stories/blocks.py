"""Notes as they are stored: some hundreds to a block, in which each text stands once.

A row is numbers alone, most of them the places of its texts among the block's names. That is a
third of the bytes, and less work than to write each entry by itself. Whether a block has anything
of an event is told by its keys, 32 bits of a hash for each id, without reading its rows.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, cast
from zlib import crc32

import msgspec

from broker.observe.stories.notes import AcceptedNote, AttemptNote, Attributes, DecisionNote, Note
from broker.ports import Accepted, Answer, Origin, Refused, Verdict
from broker.ports.sinks import Headers
from broker.ports.stories import AcceptedEntry, AttemptEntry, Became, DecisionEntry, Entry, Outcome
from broker.urls import without_credentials

_ACCEPTED, _ATTEMPT, _DECISION = range(3)
_NONE: Final = -1
_BODY: Final = 1_024
_ALL: Final = 1 << 32

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

FLAGS: Final[dict[Outcome, int]] = {"delivered": 1, "waiting": 2, "parked": 4, "dead-lettered": 8}
"""Which of these there may be in a block, as a sum."""

_FLAG_OF: Final[dict[str, int]] = {
    "waits": FLAGS["waiting"],
    "retried": FLAGS["waiting"],
    "parked": FLAGS["parked"],
    "dead-lettered": FLAGS["dead-lettered"],
    "buried": FLAGS["dead-lettered"],
}

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_names: Final = msgspec.msgpack.Decoder(list[str]).decode
_Row = list[int]
_unpack_rows: Final = msgspec.msgpack.Decoder(tuple[list[_Row], list[bytes]]).decode


class Block(NamedTuple):
    """Notes as they are stored. Times are in microseconds since 1970, ``keys`` 32-bit words."""

    first: int
    last: int
    flags: int
    keys: bytes
    names: bytes
    rows: bytes


def key_of(id: str) -> int:
    """Return the word that stands for this id among a block's keys."""
    return crc32(id.encode("utf-8", "replace"))


def keys_in(words: bytes) -> array[int]:
    """Return the keys of a block."""
    return array("I", words)


def word_of(key: int) -> bytes:
    """Return a key as it stands among those of a block."""
    return key.to_bytes(4, sys.byteorder)


def block_of(notes: Sequence[Note], sample: float) -> Block | None:
    """Return what is to be stored of the notes, None where that is nothing.

    Of events that are no ``sample``, a share from 0 to 1 that is found by their ids, that is only
    what went wrong.
    """
    writing = _Writing(sample)
    for note in notes:
        match note:
            case AcceptedNote():
                writing.accepted(note)
            case AttemptNote():
                writing.attempt(note)
            case DecisionNote():
                writing.decision(note)
    return writing.block()


class _Writing:
    def __init__(self, sample: float) -> None:
        self._bound = round(sample * _ALL)
        self._keys: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._rows: list[_Row] = []
        self._bodies: list[bytes] = []
        self._headers: dict[tuple[tuple[bytes, bytes], ...], int] = {}
        self._flags = 0

    def block(self) -> Block | None:
        if not self._rows:
            return None
        times = [row[1] for row in self._rows]
        return Block(
            first=min(times),
            last=max(times),
            flags=self._flags,
            keys=array("I", self._keys.values()).tobytes(),
            names=_packed(self._names),
            rows=_pack((self._rows, self._bodies)),
        )

    def accepted(self, note: AcceptedNote) -> None:
        at = int(note.at * 1e6)
        broker, who = self._name(note.broker), self._name(note.origin.who)
        kind = self._name(note.origin.kind)
        cause = self._pair(note.origin.cause)
        for event in note.events:
            if self._is_sampled(event["id"]):
                self._rows.append([_ACCEPTED, at, *self._event(event), broker, kind, who, *cause])

    def attempt(self, note: AttemptNote) -> None:
        answer = note.answer
        is_good = note.verdict is Verdict.DELIVERED
        if is_good and note.number == 1 and not self._is_sampled(note.event["id"]):
            return
        if is_good and note.to == "subscriber":
            self._flags |= FLAGS["delivered"]
        reply = None
        reason = None
        if isinstance(answer, Accepted):
            reason = answer.note
            if answer.reply is not None:
                reply = answer.reply.source, answer.reply.id
        else:
            reason = answer.reason
        self._rows.append(
            [
                _ATTEMPT,
                int(note.at * 1e6),
                *self._event(note.event),
                int(note.accepted_at.timestamp() * 1e6),
                self._name(note.trigger),
                self._name(note.to),
                self._name(without_credentials(note.destination)),
                note.number,
                int(note.seconds * 1e6),
                self._name(note.verdict.value),
                _NONE if answer.status is None else answer.status,
                self._header_text(answer),
                self._body(answer.body),
                self._name_if(reason),
                *self._pair(reply),
                int(isinstance(answer, Refused) and answer.untried),
            ]
        )

    def decision(self, note: DecisionNote) -> None:
        self._flags |= _FLAG_OF[note.became]
        at = int(note.at * 1e6)
        until = _NONE if note.delay is None else at + note.delay // timedelta(microseconds=1)
        self._rows.append(
            [
                _DECISION,
                at,
                *self._event(note.event),
                self._name(note.trigger),
                self._name(note.became),
                until,
                note.attempts,
                self._name_if(note.reason),
            ]
        )

    def _is_sampled(self, id: str) -> bool:
        return self._bound == _ALL or key_of(id) < self._bound

    def _event(self, event: Attributes) -> tuple[int, int, int]:
        name = event["id"]
        if name not in self._keys:
            self._keys[name] = key_of(name)
        return self._name(event["source"]), self._name(name), self._name(event["type"])

    def _name(self, text: str) -> int:
        return self._names.setdefault(text, len(self._names))

    def _name_if(self, text: str | None) -> int:
        return _NONE if text is None else self._name(text)

    def _pair(self, pair: tuple[str, str] | None) -> tuple[int, int]:
        return (_NONE, _NONE) if pair is None else (self._name(pair[0]), self._name(pair[1]))

    def _header_text(self, answer: Answer) -> int:
        if not answer.headers:
            return _NONE
        headers = tuple(answer.headers)
        known = self._headers.get(headers)
        if known is None:
            known = self._headers[headers] = self._name(_text_of(headers))
        return known

    def _body(self, body: bytes) -> int:
        if not body:
            return _NONE
        self._bodies.append(body[:_BODY])
        return len(self._bodies) - 1


def _packed(names: Iterable[str]) -> bytes:
    try:
        return _pack(list(names))
    except UnicodeEncodeError:  # what the system says of a file, say, need not be text
        return _pack([name.encode("utf-8", "replace").decode() for name in names])


_SECRET: Final = frozenset({b"set-cookie", b"authorization", b"www-authenticate", b"cookie"})
"""Headers of answers whose values nobody needs to see who looks a delivery up."""


def _text_of(headers: Headers) -> str:
    told = ((name, b"***" if name in _SECRET else value) for name, value in headers)
    return "\n".join(f"{name.decode('latin-1')}:{value.decode('latin-1')}" for name, value in told)


# --- reading -------------------------------------------------------------------------------


class Rows:
    """What a block has."""

    def __init__(self, names: bytes, rows: bytes) -> None:
        self._names = _unpack_names(names)
        self._rows, self._bodies = _unpack_rows(rows)

    def of(self, ids: Collection[str]) -> Iterator[Entry]:
        """Return the entries of events with these ids."""
        places = {place for place, name in enumerate(self._names) if name in ids}
        for row in self._rows:
            if row[3] in places:
                yield self._entry(row)

    def latest_first(self) -> Iterator[Entry]:
        """Return all entries, those of the latest time first."""
        for row in sorted(self._rows, key=lambda row: row[1], reverse=True):
            yield self._entry(row)

    def _entry(self, row: _Row) -> Entry:
        match row[0]:
            case 0:
                return self._accepted(row)
            case 1:
                return self._attempt(row)
            case _:
                return self._decision(row)

    def _accepted(self, row: _Row) -> AcceptedEntry:
        _, at, source, event, of_type, broker, kind, who, cause_source, cause_id = row
        names = self._names
        return AcceptedEntry(
            at=_moment(at),
            source=names[source],
            id=names[event],
            type=names[of_type],
            broker=names[broker],
            origin=Origin(
                cast("Literal['request']", names[kind]),
                names[who],
                self._pair(cause_source, cause_id),
            ),
        )

    def _attempt(self, row: _Row) -> AttemptEntry:
        _, at, source, event, of_type, accepted_at, trigger, to, destination, *answer = row
        number, micros, verdict, status, headers, body, reason, *reply, untried = answer
        names = self._names
        return AttemptEntry(
            at=_moment(at),
            source=names[source],
            id=names[event],
            type=names[of_type],
            accepted_at=_moment(accepted_at),
            trigger=names[trigger],
            to=cast("Literal['subscriber']", names[to]),
            destination=names[destination],
            number=number,
            seconds=micros / 1e6,
            verdict=cast("Literal['delivered']", names[verdict]),
            status=None if status == _NONE else status,
            headers=() if headers == _NONE else _headers_of(names[headers]),
            body=b"" if body == _NONE else self._bodies[body],
            reason=self._name(reason),
            reply=self._pair(*reply),
            untried=bool(untried),
        )

    def _decision(self, row: _Row) -> DecisionEntry:
        _, at, source, event, of_type, trigger, became, until, attempts, reason = row
        names = self._names
        return DecisionEntry(
            at=_moment(at),
            source=names[source],
            id=names[event],
            type=names[of_type],
            trigger=names[trigger],
            became=cast("Became", names[became]),
            until=None if until == _NONE else _moment(until),
            attempts=attempts,
            reason=self._name(reason),
        )

    def _name(self, place: int) -> str | None:
        return None if place == _NONE else self._names[place]

    def _pair(self, first: int, second: int) -> tuple[str, str] | None:
        return None if first == _NONE else (self._names[first], self._names[second])


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _headers_of(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in text.split("\n"))
    return [(name, value) for name, _, value in pairs]
