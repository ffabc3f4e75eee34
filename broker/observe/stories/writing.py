"""Writes entries, as rows of a block."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import timedelta
from struct import Struct
from typing import Final

import msgspec

from broker.event import Event
from broker.observe.stories.format import (
    ANSWER,
    ARRIVAL,
    DECISION,
    DECISION_ROW,
    FLAG_OF,
    MICROSECOND,
    NONE,
    TO,
    WAY,
    Block,
    key_of,
    pack_head,
)
from broker.ports import Accepted, Attempt, Verdict
from broker.ports.sinks import Headers
from broker.ports.stories import Became
from broker.urls import without_credentials

_BODY: Final = 1_024
_REASON: Final = 1_024
_HEADERS: Final = 4_096
"""Bytes and characters that are kept of each: what others say must not fill the memory."""

_pack: Final = msgspec.msgpack.Encoder().encode

_ARRIVAL: Final = Struct(f"<{ARRIVAL}").pack
_WAY: Final = Struct(f"<{WAY}").pack
_ANSWER: Final = Struct(f"<{ANSWER}").pack
_DECISION: Final = Struct(f"<{DECISION_ROW}").pack
_VERDICTS: Final = tuple(Verdict)

_SECRET: Final = frozenset({b"set-cookie", b"authorization", b"www-authenticate", b"cookie"})
"""Headers of answers whose values nobody needs to see who looks a delivery up."""


class Writing:
    """A block that is being written.

    A `Recorder` puts most rows into it itself: into ``rows``, the key and the time of each into
    ``keys`` and ``times``, and what there may be in ``flags``. What many rows have in common is
    made here, and kept in ``arrivals``, ``ways`` and ``answers``.
    """

    def __init__(self) -> None:
        self.keys = array("I")
        self.times = array("q")
        self._names: dict[str, int] = {}
        self.rows = bytearray()
        self._bodies: list[bytes] = []
        self.flags = 0
        # What many rows have in common, as it is written.
        self.arrivals: dict[tuple[str, str, str, str, str], bytes] = {}
        self.ways: dict[tuple[str, str, str, str, str], bytes] = {}
        self.answers: dict[tuple[object, ...] | None, bytes] = {}
        self._headers: dict[tuple[tuple[bytes, bytes], ...], int] = {}

    @property
    def count(self) -> int:
        """How many entries have been written."""
        return len(self.times)

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
        self.flags |= FLAG_OF[became]
        name = event.id.encode()
        self.keys.append(key_of(name))
        time, place = int(at * 1e6), self._place
        self.times.append(time)
        self.rows += pack_head(DECISION, time, len(name))
        self.rows += _DECISION(
            place(event.source),
            place(event.type),
            place(trigger),
            place(became),
            NONE if delay is None else time + delay // MICROSECOND,
            attempts,
            NONE if reason is None else place(reason[:_REASON]),
        )
        self.rows += name

    def block(self) -> Block | None:
        """Return what has been written, None where that is nothing. Takes a few milliseconds."""
        if not self.rows:
            return None
        return Block(
            first=min(self.times),
            last=max(self.times),
            flags=self.flags,
            keys=array("I", set(self.keys)).tobytes(),
            names=_packed(self._names),
            rows=_pack((bytes(self.rows), self._bodies)),
        )

    def _place(self, text: str) -> int:
        return self._names.setdefault(text, len(self._names))

    def arrival(
        self, arrival: tuple[str, str, str, str, str], cause: tuple[str, str] | None
    ) -> bytes:
        """Return source, type, broker, how it came there, by whom, and what a reply is to."""
        to = (NONE, NONE) if cause is None else map(self._place, cause)
        told = _ARRIVAL(*map(self._place, arrival), *to)
        if cause is None:
            self.arrivals[arrival] = told
        return told

    def way(self, way: tuple[str, str, str, str, str]) -> bytes:
        """Return source, type, trigger, which of its destinations, and that as it may be told."""
        source, of, trigger, to, destination = way
        place = self._place
        told = self.ways[way] = _WAY(
            place(source),
            place(of),
            place(trigger),
            TO.index(to),
            place(without_credentials(destination)),
        )
        return told

    def answer(self, made: Attempt, plain: tuple[object, ...] | None) -> bytes:
        """Return the verdict, what the answer was, what it replied with, and the span.

        ``plain`` is all that there is of a good answer that replied with nothing and has no body.
        """
        answer, place = made.answer, self._place
        reply: Event | None = None
        untried = 0
        if isinstance(answer, Accepted):
            reason, reply = answer.note, answer.reply
        else:
            reason, untried = answer.reason, int(answer.untried)
        told = _ANSWER(
            _VERDICTS.index(made.verdict),
            NONE if answer.status is None else answer.status,
            self._header_text(answer.headers) if answer.headers else NONE,
            self._body(answer.body) if answer.body else NONE,
            NONE if reason is None else place(reason[:_REASON]),
            NONE if reply is None else place(reply.source),
            NONE if reply is None else place(reply.id),
            untried,
            NONE if made.trace is None else place(made.trace),
        )
        if plain is not None and made.trace is None:
            self.answers[plain] = told
        return told

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
    lines = [f"{name.decode('latin-1')}:{value.decode('latin-1')}" for name, value in told]
    while sum(map(len, lines)) > _HEADERS:
        lines.pop()
    return "\n".join(lines)
