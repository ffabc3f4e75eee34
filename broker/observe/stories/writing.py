"""Writes entries, as rows of a block."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import timedelta
from struct import Struct
from typing import Any, Final

import msgspec

from broker.event import Event
from broker.observe.stories.format import (
    ACCEPTED,
    ANSWER,
    ARRIVAL,
    ATTEMPT,
    DECISION,
    DECISION_ROW,
    EPOCH,
    FLAG_OF,
    FLAGS,
    HEAD,
    MICROSECOND,
    NONE,
    TIMES,
    TO,
    WAY,
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

_HEAD: Final = Struct(HEAD).pack
_ARRIVAL: Final = Struct(f"<{ARRIVAL}").pack
_TIMES: Final = Struct(f"<{TIMES}").pack
_WAY: Final = Struct(f"<{WAY}").pack
_ANSWER: Final = Struct(f"<{ANSWER}").pack
_DECISION: Final = Struct(f"<{DECISION_ROW}").pack
_VERDICTS: Final = tuple(Verdict)

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
        self._times = array("q")
        self._names: dict[str, int] = {}
        self._rows = bytearray()
        self._bodies: list[bytes] = []
        self._flags = 0
        # What many rows have in common, as it is written.
        self._arrivals: dict[tuple[str, str, str, str, str], bytes] = {}
        self._ways: dict[tuple[str, str, str, str, str], bytes] = {}
        self._answers: dict[tuple[Any, ...], bytes] = {}
        self._headers: dict[tuple[tuple[bytes, bytes], ...], int] = {}

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
        time = int(at * 1e6)
        self._keys.append(key)
        self._times.append(time)
        arrival = attributes["source"], attributes["type"], broker, origin.kind, origin.who
        told = self._arrivals.get(arrival) if origin.cause is None else None
        told = told or self._arrival(arrival, origin.cause)
        self._rows += b"%b%b%b" % (_HEAD(ACCEPTED, time, len(name)), told, name)

    def attempt(self, made: Attempt) -> None:
        attributes, answer = made.event.attributes, made.answer
        name = attributes["id"].encode()
        key = key_of(name)
        is_good = made.verdict is Verdict.DELIVERED
        if is_good:
            if key >= self._bound and made.number == 1:
                return
            self._flags |= FLAGS["delivered"]
        time = int(made.began * 1e6)
        self._keys.append(key)
        self._times.append(time)
        way = attributes["source"], attributes["type"], made.trigger, made.to, made.destination
        is_plain = is_good and not answer.body and made.trace is None
        self._rows += b"%b%b%b%b%b" % (
            _HEAD(ATTEMPT, time, len(name)),
            _TIMES((made.accepted_at - EPOCH) // MICROSECOND, made.number, int(made.seconds * 1e6)),
            self._ways.get(way) or self._way(way),
            self._plain(answer) if is_plain else self._answer(made),
            name,
        )

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
        self._rows += _HEAD(DECISION, time, len(name))
        self._rows += _DECISION(
            place(event.source),
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

    def _arrival(
        self, arrival: tuple[str, str, str, str, str], cause: tuple[str, str] | None
    ) -> bytes:
        """Return source, type, broker, how it came there, by whom, and what a reply is to."""
        to = (NONE, NONE) if cause is None else map(self._place, cause)
        told = _ARRIVAL(*map(self._place, arrival), *to)
        if cause is None:
            self._arrivals[arrival] = told
        return told

    def _way(self, way: tuple[str, str, str, str, str]) -> bytes:
        """Return source, type, trigger, which of its destinations, and that as it may be told."""
        source, of, trigger, to, destination = way
        place = self._place
        told = self._ways[way] = _WAY(
            place(source),
            place(of),
            place(trigger),
            TO.index(to),
            place(without_credentials(destination)),
        )
        return told

    def _plain(self, answer: Answer) -> bytes:
        """Return a good answer that says no more than its head does."""
        if not isinstance(answer, Accepted) or answer.reply is not None:
            return self._of_answer(answer, 0, None)
        key = answer.status, answer.note, *answer.headers
        return self._answers.get(key) or self._answers.setdefault(
            key, self._of_answer(answer, 0, None)
        )

    def _answer(self, made: Attempt) -> bytes:
        return self._of_answer(made.answer, _VERDICTS.index(made.verdict), made.trace)

    def _of_answer(self, answer: Answer, verdict: int, trace: str | None) -> bytes:
        place = self._place
        reply: Event | None = None
        untried = 0
        if isinstance(answer, Accepted):
            reason, reply = answer.note, answer.reply
        else:
            reason, untried = answer.reason, int(answer.untried)
        return _ANSWER(
            verdict,
            NONE if answer.status is None else answer.status,
            self._header_text(answer.headers) if answer.headers else NONE,
            self._body(answer.body) if answer.body else NONE,
            NONE if reason is None else place(reason),
            NONE if reply is None else place(reply.source),
            NONE if reply is None else place(reply.id),
            untried,
            NONE if trace is None else place(trace),
        )

    def _header_text(self, headers: Headers) -> int:
        key = tuple(headers)
        known = self._headers.get(key)
        if known is None:
            known = self._headers[key] = self._place(_text_of(headers))
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
