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

_SECRET: Final = frozenset({b"set-cookie", b"authorization", b"www-authenticate", b"cookie"})
"""Headers of answers whose values nobody needs to see who looks a delivery up."""


class Writing:
    """A block that is being written, in the middle of the work: that has to be quick.

    Of events that are no ``sample``, a share from 0 to 1 that is found by their ids, it takes only
    what went wrong. Times are in seconds since 1970.
    """

    def __init__(self, sample: float) -> None:
        self._bound = round(sample * _ALL)
        self._ids: dict[str, None] = {}
        self._names: dict[str, int] = {}
        # One list of numbers: a list for each row would be one more thing to look for garbage in.
        self._rows: list[int] = []
        self._bodies: list[bytes] = []
        self._headers: dict[tuple[tuple[bytes, bytes], ...], int] = {}
        self._ways: dict[tuple[str, str, str], tuple[int, int, int]] = {}
        self._flags = 0
        self._times: list[int] = []
        self._origins: dict[tuple[str, str, str], tuple[int, ...]] = {}

    @property
    def count(self) -> int:
        """How many entries have been written."""
        return len(self._times)

    def accepted(self, at: float, broker: str, event: Event, origin: Origin) -> None:
        attributes = event.attributes
        if self._bound != _ALL and not self._is_sampled(attributes["id"]):
            return
        name, time = self._name, int(at * 1e6)
        self._times.append(time)
        self._rows += (
            ACCEPTED,
            time,
            name(attributes["source"]),
            self._id(attributes["id"]),
            name(attributes["type"]),
            *self._origin(broker, origin),
        )

    def attempt(self, made: Attempt) -> None:
        answer, verdict, attributes = made.answer, made.verdict, made.event.attributes
        is_good = verdict is Verdict.DELIVERED
        if is_good:
            if self._bound != _ALL and made.number == 1 and not self._is_sampled(attributes["id"]):
                return
            self._flags |= FLAGS["delivered"]
        name, time = self._name, int(made.began * 1e6)
        self._times.append(time)
        reply: Event | None = None
        untried = 0
        if isinstance(answer, Accepted):
            reason, reply = answer.note, answer.reply
        else:
            reason, untried = answer.reason, int(answer.untried)
        self._rows += (
            ATTEMPT,
            time,
            name(attributes["source"]),
            self._id(attributes["id"]),
            name(attributes["type"]),
            (made.accepted_at - EPOCH) // MICROSECOND,
            *self._way(made),
            made.number,
            int(made.seconds * 1e6),
            0 if is_good else 1 if verdict is Verdict.RETRY else 2,
            NONE if answer.status is None else answer.status,
            self._header_text(answer) if answer.headers else NONE,
            self._body(answer.body) if answer.body else NONE,
            NONE if reason is None else name(reason),
            NONE if reply is None else name(reply.source),
            NONE if reply is None else name(reply.id),
            untried,
            NONE if made.trace is None else name(made.trace),
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
        self._flags |= FLAG_OF[became]
        name, time = self._name, int(at * 1e6)
        self._times.append(time)
        self._rows += (
            DECISION,
            time,
            name(event.source),
            self._id(event.id),
            name(event.type),
            name(trigger),
            name(became),
            NONE if delay is None else time + delay // MICROSECOND,
            attempts,
            NONE if reason is None else name(reason),
        )

    def block(self) -> Block | None:
        """Return what has been written, None where that is nothing. Takes a few milliseconds."""
        if not self._rows:
            return None
        return Block(
            first=min(self._times),
            last=max(self._times),
            flags=self._flags,
            keys=array("I", map(key_of, self._ids)).tobytes(),
            names=_packed(self._names),
            rows=_pack((self._rows, self._bodies)),
        )

    def _is_sampled(self, id: str) -> bool:
        return key_of(id) < self._bound

    def _id(self, id: str) -> int:
        self._ids[id] = None
        return self._names.setdefault(id, len(self._names))

    def _name(self, text: str) -> int:
        return self._names.setdefault(text, len(self._names))

    def _origin(self, broker: str, origin: Origin) -> tuple[int, ...]:
        """Return the broker, how the event came there, by whom, and the event it is a reply to."""
        name, kind, who, cause = self._name, origin.kind, origin.who, origin.cause
        if cause is not None:
            return name(broker), name(kind), name(who), name(cause[0]), name(cause[1])
        known = self._origins.get((broker, kind, who))
        if known is None:
            known = self._origins[broker, kind, who] = (
                name(broker),
                name(kind),
                name(who),
                NONE,
                NONE,
            )
        return known

    def _way(self, made: Attempt) -> tuple[int, int, int]:
        """Return the trigger, to which of its destinations, and that without credentials."""
        way = made.trigger, made.to, made.destination
        known = self._ways.get(way)
        if known is None:
            shown = self._name(without_credentials(made.destination))
            known = self._ways[way] = self._name(made.trigger), TO.index(made.to), shown
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


def _text_of(headers: Headers) -> str:
    told = ((name, b"***" if name in _SECRET else value) for name, value in headers)
    return "\n".join(f"{name.decode('latin-1')}:{value.decode('latin-1')}" for name, value in told)
