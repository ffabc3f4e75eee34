"""Writes entries, as rows of a block."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import msgspec

from broker.event import Event
from broker.observe.stories.format import (
    ACCEPTED,
    ATTEMPT,
    DECISION,
    EPOCH,
    FLAG_OF,
    FLAGS,
    MICROSECOND,
    NONE,
    STRUCTS,
    TO,
    Block,
    key_of,
)
from broker.ports import Accepted, Answer, Attempt, Origin, Verdict
from broker.ports.sinks import Headers
from broker.ports.stories import Became
from broker.urls import without_credentials

_BODY: Final = 1_024
_ALL: Final = 1 << 32

_pack: Final = msgspec.msgpack.Encoder().encode

_ACCEPTED_ROW, _ATTEMPT_ROW, _DECISION_ROW = (each.pack for each in STRUCTS)

_SECRET: Final = frozenset({b"set-cookie", b"authorization", b"www-authenticate", b"cookie"})
"""Headers of answers whose values nobody needs to see who looks a delivery up."""


class Writing:
    """A block that is being written, in the middle of the work: that has to be quick.

    Of events that are no ``sample``, a share from 0 to 1 that is found by their ids, it takes only
    what went wrong. Times are in seconds since 1970.
    """

    def __init__(self, sample: float) -> None:
        self._bound = round(sample * _ALL)
        self._keys = array("I")
        self._names: dict[str, int] = {}
        self._rows = bytearray()
        self._bodies: list[bytes] = []
        self._headers: dict[tuple[tuple[bytes, bytes], ...], int] = {}
        self._ways: dict[tuple[str, str, str], tuple[int, int, int]] = {}
        self._flags = 0
        self._times = array("q")
        self._origins: dict[tuple[str, str, str], tuple[int, ...]] = {}

    @property
    def count(self) -> int:
        """How many entries have been written."""
        return len(self._times)

    def accepted(self, at: float, broker: str, event: Event, origin: Origin) -> None:
        attributes = event.attributes
        name = attributes["id"].encode()
        key = key_of(name)
        if key >= self._bound:
            return
        self._keys.append(key)
        time, place = int(at * 1e6), self._place
        self._times.append(time)
        self._rows += _ACCEPTED_ROW(
            ACCEPTED,
            time,
            place(attributes["source"]),
            len(name),
            place(attributes["type"]),
            *self._origin(broker, origin),
        )
        self._rows += name

    def attempt(self, made: Attempt) -> None:
        answer, verdict, attributes = made.answer, made.verdict, made.event.attributes
        name = attributes["id"].encode()
        key = key_of(name)
        is_good = verdict is Verdict.DELIVERED
        if is_good:
            if key >= self._bound and made.number == 1:
                return
            self._flags |= FLAGS["delivered"]
        self._keys.append(key)
        time, place = int(made.began * 1e6), self._place
        self._times.append(time)
        reply: Event | None = None
        untried = 0
        if isinstance(answer, Accepted):
            reason, reply = answer.note, answer.reply
        else:
            reason, untried = answer.reason, int(answer.untried)
        self._rows += _ATTEMPT_ROW(
            ATTEMPT,
            time,
            place(attributes["source"]),
            len(name),
            place(attributes["type"]),
            (made.accepted_at - EPOCH) // MICROSECOND,
            *self._way(made),
            made.number,
            int(made.seconds * 1e6),
            0 if is_good else 1 if verdict is Verdict.RETRY else 2,
            NONE if answer.status is None else answer.status,
            self._header_text(answer) if answer.headers else NONE,
            self._body(answer.body) if answer.body else NONE,
            NONE if reason is None else place(reason),
            NONE if reply is None else place(reply.source),
            NONE if reply is None else place(reply.id),
            untried,
            NONE if made.trace is None else place(made.trace),
        )
        self._rows += name

    def decision(
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
        self._flags |= FLAG_OF[became]
        name = event.id.encode()
        self._keys.append(key_of(name))
        time, place = int(at * 1e6), self._place
        self._times.append(time)
        self._rows += _DECISION_ROW(
            DECISION,
            time,
            place(event.source),
            len(name),
            place(event.type),
            place(trigger),
            place(became),
            NONE if delay is None else time + delay // MICROSECOND,
            attempts,
            NONE if reason is None else place(reason),
        )
        self._rows += name

    def block(self) -> Block | None:
        """Return what has been written, None where that is nothing. Takes a few milliseconds."""
        if not self._rows:
            return None
        return Block(
            first=min(self._times),
            last=max(self._times),
            flags=self._flags,
            keys=array("I", set(self._keys)).tobytes(),
            names=_packed(self._names),
            rows=_pack((bytes(self._rows), self._bodies)),
        )

    def _place(self, text: str) -> int:
        return self._names.setdefault(text, len(self._names))

    def _origin(self, broker: str, origin: Origin) -> tuple[int, ...]:
        """Return the broker, how the event came there, by whom, and the event it is a reply to."""
        place, kind, who, cause = self._place, origin.kind, origin.who, origin.cause
        if cause is not None:
            return place(broker), place(kind), place(who), place(cause[0]), place(cause[1])
        known = self._origins.get((broker, kind, who))
        if known is None:
            known = place(broker), place(kind), place(who), NONE, NONE
            self._origins[broker, kind, who] = known
        return known

    def _way(self, made: Attempt) -> tuple[int, int, int]:
        """Return the trigger, to which of its destinations, and that without credentials."""
        way = made.trigger, made.to, made.destination
        known = self._ways.get(way)
        if known is None:
            shown = self._place(without_credentials(made.destination))
            known = self._ways[way] = self._place(made.trigger), TO.index(made.to), shown
        return known

    def _header_text(self, answer: Answer) -> int:
        headers = tuple(answer.headers)
        known = self._headers.get(headers)
        if known is None:
            known = self._headers[headers] = self._place(_text_of(headers))
        return known

    def _body(self, body: bytes) -> int:
        self._bodies.append(body[:_BODY])
        return len(self._bodies) - 1


def _packed(names: Iterable[str]) -> bytes:
    try:
        return _pack(list(names))
    except UnicodeEncodeError:  # what the system says of a file, say, need not be text
        return _pack([name.encode("utf-8", "replace").decode() for name in names])


def _text_of(headers: Headers) -> str:
    told = ((name, b"***" if name in _SECRET else value) for name, value in headers)
    return "\n".join(f"{name.decode('latin-1')}:{value.decode('latin-1')}" for name, value in told)
