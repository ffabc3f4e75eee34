"""Reads the rows of a block."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, Literal, cast

import msgspec

from broker.observe.stories.choosing import chooser, source_in
from broker.observe.stories.format import (
    ACCEPTED,
    ATTEMPT,
    NONE,
    STRUCTS,
    TO,
    VERDICTS,
    Row,
    moment,
)
from broker.ports import Origin
from broker.ports.stories import (
    AcceptedEntry,
    AttemptEntry,
    Became,
    DecisionEntry,
    Entry,
    Found,
    Wanted,
)

_unpack_names: Final = msgspec.msgpack.Decoder(list[str]).decode
_unpack_rows: Final = msgspec.msgpack.Decoder(tuple[bytes, list[bytes]]).decode


class Rows:
    """What a block has."""

    def __init__(self, names: bytes, rows: bytes) -> None:
        self._names = _unpack_names(names)
        self._written, self._bodies = _unpack_rows(rows)

    def of(self, ids: Collection[str]) -> Iterator[Entry]:
        """Return the entries of events with these ids."""
        wanted = {each.encode("utf-8", "replace") for each in ids}
        for row in self._rows():
            if row[2] in wanted:
                yield self._entry(row)

    def found(self, wanted: Wanted) -> Iterator[Found]:
        """Return the events of which there are entries that are wanted, once for each of these.

        Of the rows alone: to make an entry of each takes ten times as long.
        """
        is_wanted = chooser(wanted, {name: place for place, name in enumerate(self._names)})
        for row in self._rows():
            if is_wanted(row):
                names = self._names
                yield Found(
                    at=moment(row[1]), source=names[row[source_in(row)]], id=row[2].decode()
                )

    def _rows(self) -> Iterator[Row]:
        written, at = self._written, 0
        while at < len(written):
            form = STRUCTS[written[at]]
            row: list[Any] = [*form.unpack_from(written, at)]
            at += form.size
            end = at + row[2]
            row[2] = written[at:end]
            at = end
            yield row

    def _entry(self, row: Row) -> Entry:
        if row[0] == ACCEPTED:
            return self._accepted(row)
        if row[0] == ATTEMPT:
            return self._attempt(row)
        return self._decision(row)

    def _accepted(self, row: Row) -> AcceptedEntry:
        _, at, event, source, of_type, broker, kind, who, cause_source, cause_id = row
        names = self._names
        return AcceptedEntry(
            at=moment(at),
            source=names[source],
            id=event.decode(),
            type=names[of_type],
            broker=names[broker],
            origin=Origin(
                cast("Literal['request']", names[kind]),
                names[who],
                self._pair(cause_source, cause_id),
            ),
        )

    def _attempt(self, row: Row) -> AttemptEntry:
        _, at, event, accepted_at, number, micros, *way = row
        source, of_type, trigger, to, destination, verdict, *answer = way
        status, headers, body, reason, *reply, untried, trace = answer
        names = self._names
        return AttemptEntry(
            at=moment(at),
            source=names[source],
            id=event.decode(),
            type=names[of_type],
            accepted_at=moment(accepted_at),
            trigger=names[trigger],
            to=cast("Literal['subscriber']", TO[to]),
            destination=names[destination],
            number=number,
            seconds=micros / 1e6,
            verdict=cast("Literal['delivered']", VERDICTS[verdict]),
            status=None if status == NONE else status,
            headers=() if headers == NONE else _headers_of(names[headers]),
            body=b"" if body == NONE else self._bodies[body],
            reason=self._name(reason),
            reply=self._pair(*reply),
            untried=bool(untried),
            trace=self._name(trace),
        )

    def _decision(self, row: Row) -> DecisionEntry:
        _, at, event, source, of_type, trigger, became, until, attempts, reason = row
        names = self._names
        return DecisionEntry(
            at=moment(at),
            source=names[source],
            id=event.decode(),
            type=names[of_type],
            trigger=names[trigger],
            became=cast("Became", names[became]),
            until=None if until == NONE else moment(until),
            attempts=attempts,
            reason=self._name(reason),
        )

    def _name(self, place: int) -> str | None:
        return None if place == NONE else self._names[place]

    def _pair(self, first: int, second: int) -> tuple[str, str] | None:
        return None if first == NONE else (self._names[first], self._names[second])


def _headers_of(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in text.split("\n") if line)
    return [(name, value) for name, _, value in pairs]
