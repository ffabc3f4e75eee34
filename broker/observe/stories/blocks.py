"""Entries as they are stored: some hundreds to a block, in which each text stands once.

A row is numbers alone, most of them the places of its texts among the block's names. That is a
third of the bytes, and less work than to write each entry by itself. Whether a block has anything
of an event is told by its keys, 32 bits of a hash for each id, without reading its rows.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, cast
from zlib import crc32

import msgspec

from broker.event import Event
from broker.ports import Accepted, Answer, Attempt, Origin, Verdict
from broker.ports.sinks import Headers
from broker.ports.stories import AcceptedEntry, AttemptEntry, Became, DecisionEntry, Entry, Outcome
from broker.urls import without_credentials

_ACCEPTED, _ATTEMPT, _DECISION = range(3)
_WIDTHS: Final = (10, 20, 10)
"""The numbers in a row of each kind."""

_NONE: Final = -1
_BODY: Final = 1_024
_ALL: Final = 1 << 32

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_TO: Final = ("subscriber", "dead-letter sink")
_VERDICTS: Final = ("delivered", "retry", "give up")

FLAGS: Final[dict[Outcome, int]] = {"delivered": 1, "waiting": 2, "parked": 4, "dead-lettered": 8}
"""Which of these there may be in a block, as a sum."""

_FLAG_OF: Final[Mapping[Became, int]] = {
    "waits": FLAGS["waiting"],
    "retried": FLAGS["waiting"],
    "parked": FLAGS["parked"],
    "dead-lettered": FLAGS["dead-lettered"],
    "buried": FLAGS["dead-lettered"],
}

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_names: Final = msgspec.msgpack.Decoder(list[str]).decode
_unpack_rows: Final = msgspec.msgpack.Decoder(tuple[list[int], list[bytes]]).decode
_Row = Sequence[int]


class Block(NamedTuple):
    """What is stored. Times are in microseconds since 1970, ``keys`` 32-bit words."""

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


# --- writing -------------------------------------------------------------------------------


class Writing:
    """A block that is being written, in the middle of the work: that has to be quick.

    Of events that are no ``sample``, a share from 0 to 1 that is found by their ids, it takes only
    what went wrong. Times are in seconds since 1970.
    """

    def __init__(self, sample: float) -> None:
        self.count = 0
        self._bound = round(sample * _ALL)
        self._ids: dict[str, None] = {}
        self._names: dict[str, int] = {}
        # One list of numbers: a list for each row would be one more thing to look for garbage in.
        self._rows: list[int] = []
        self._bodies: list[bytes] = []
        self._headers: dict[tuple[tuple[bytes, bytes], ...], int] = {}
        self._ways: dict[tuple[str, str, str], tuple[int, int, int]] = {}
        self._flags = 0
        self._first = self._last = 0

    def accepted(self, at: float, broker: str, event: Event, origin: Origin) -> None:
        attributes = event.attributes
        if self._bound != _ALL and not self._is_sampled(attributes["id"]):
            return
        name = self._name
        cause = origin.cause
        self._rows += (
            _ACCEPTED,
            self._time(at),
            name(attributes["source"]),
            self._id(attributes["id"]),
            name(attributes["type"]),
            name(broker),
            name(origin.kind),
            name(origin.who),
            _NONE if cause is None else name(cause[0]),
            _NONE if cause is None else name(cause[1]),
        )

    def attempt(self, made: Attempt) -> None:
        answer, verdict, attributes = made.answer, made.verdict, made.event.attributes
        is_good = verdict is Verdict.DELIVERED
        if is_good:
            if self._bound != _ALL and made.number == 1 and not self._is_sampled(attributes["id"]):
                return
            self._flags |= FLAGS["delivered"]
        name = self._name
        reply: Event | None = None
        untried = 0
        if isinstance(answer, Accepted):
            reason, reply = answer.note, answer.reply
        else:
            reason, untried = answer.reason, int(answer.untried)
        self._rows += (
            _ATTEMPT,
            self._time(made.began),
            name(attributes["source"]),
            self._id(attributes["id"]),
            name(attributes["type"]),
            (made.accepted_at - _EPOCH) // _MICROSECOND,
            *self._way(made),
            made.number,
            int(made.seconds * 1e6),
            0 if is_good else 1 if verdict is Verdict.RETRY else 2,
            _NONE if answer.status is None else answer.status,
            self._header_text(answer) if answer.headers else _NONE,
            self._body(answer.body) if answer.body else _NONE,
            _NONE if reason is None else name(reason),
            _NONE if reply is None else name(reply.source),
            _NONE if reply is None else name(reply.id),
            untried,
            _NONE if made.trace is None else name(made.trace),
        )

    def decision(  # one for each column
        self,
        at: float,
        event: Event,
        trigger: str,
        became: Became,
        *,
        delay: timedelta | None,
        attempts: int,
        reason: str | None,
    ) -> None:
        self._flags |= _FLAG_OF[became]
        name, time = self._name, self._time(at)
        self._rows += (
            _DECISION,
            time,
            name(event.source),
            self._id(event.id),
            name(event.type),
            name(trigger),
            name(became),
            _NONE if delay is None else time + delay // _MICROSECOND,
            attempts,
            _NONE if reason is None else name(reason),
        )

    def block(self) -> Block | None:
        """Return what has been written, None where that is nothing. Takes a few milliseconds."""
        if not self._rows:
            return None
        return Block(
            first=self._first,
            last=self._last,
            flags=self._flags,
            keys=array("I", map(key_of, self._ids)).tobytes(),
            names=_packed(self._names),
            rows=_pack((self._rows, self._bodies)),
        )

    def _is_sampled(self, id: str) -> bool:
        return key_of(id) < self._bound

    def _time(self, at: float) -> int:
        time = int(at * 1e6)
        if not self.count:
            self._first = self._last = time
        elif time < self._first:
            self._first = time
        elif time > self._last:
            self._last = time
        self.count += 1
        return time

    def _id(self, id: str) -> int:
        self._ids[id] = None
        return self._names.setdefault(id, len(self._names))

    def _name(self, text: str) -> int:
        return self._names.setdefault(text, len(self._names))

    def _way(self, made: Attempt) -> tuple[int, int, int]:
        """Return the trigger, to which of its destinations, and that without credentials."""
        way = made.trigger, made.to, made.destination
        known = self._ways.get(way)
        if known is None:
            shown = self._name(without_credentials(made.destination))
            known = self._ways[way] = self._name(made.trigger), _TO.index(made.to), shown
        return known

    def _header_text(self, answer: Answer) -> int:
        headers = tuple(answer.headers)
        known = self._headers.get(headers)
        if known is None:
            known = self._headers[headers] = self._name(_text_of(headers))
        return known

    def _body(self, body: bytes) -> int:
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
        self._numbers, self._bodies = _unpack_rows(rows)

    def of(self, ids: Collection[str]) -> Iterator[Entry]:
        """Return the entries of events with these ids."""
        places = {place for place, name in enumerate(self._names) if name in ids}
        for row in self._rows():
            if row[3] in places:
                yield self._entry(row)

    def latest_first(self) -> Iterator[Entry]:
        """Return all entries, those of the latest time first."""
        for row in sorted(self._rows(), key=lambda row: row[1], reverse=True):
            yield self._entry(row)

    def _rows(self) -> Iterator[_Row]:
        numbers, at = self._numbers, 0
        while at < len(numbers):
            end = at + _WIDTHS[numbers[at]]
            yield numbers[at:end]
            at = end

    def _entry(self, row: _Row) -> Entry:
        if row[0] == _ACCEPTED:
            return self._accepted(row)
        if row[0] == _ATTEMPT:
            return self._attempt(row)
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
        number, micros, verdict, status, headers, body, reason, *reply, untried, trace = answer
        names = self._names
        return AttemptEntry(
            at=_moment(at),
            source=names[source],
            id=names[event],
            type=names[of_type],
            accepted_at=_moment(accepted_at),
            trigger=names[trigger],
            to=cast("Literal['subscriber']", _TO[to]),
            destination=names[destination],
            number=number,
            seconds=micros / 1e6,
            verdict=cast("Literal['delivered']", _VERDICTS[verdict]),
            status=None if status == _NONE else status,
            headers=() if headers == _NONE else _headers_of(names[headers]),
            body=b"" if body == _NONE else self._bodies[body],
            reason=self._name(reason),
            reply=self._pair(*reply),
            untried=bool(untried),
            trace=self._name(trace),
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
