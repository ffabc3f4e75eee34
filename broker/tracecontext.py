"""Trace contexts as text: what `broker.event.Event.trace` holds.

A ``traceparent``, and behind a blank a ``tracestate`` where there is one, as W3C Trace Context
(sections 3.2 and 3.3) has both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

SAMPLED: Final = 0x01

# A later version may append fields; its first four mean the same (section 4.2).
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.ASCII | re.DOTALL,
)
_TRACESTATE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")


class TraceContext(NamedTuple):
    """A span, for what follows from it: its trace and its own id, in hexadecimal digits."""

    trace: str
    span: str
    flags: int
    state: str

    @property
    def is_sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def __str__(self) -> str:
        parent = f"00-{self.trace}-{self.span}-{self.flags:02x}"
        return f"{parent} {self.state}" if self.state else parent


def read(text: str | None) -> TraceContext | None:
    """Return the trace context that a text tells, or None where there is none or it is wrong.

    A ``tracestate`` that is wrong is left out, and so is one of more than 512 characters.
    """
    if text is None:
        return None
    parent, _, state = text.partition(" ")
    found = _TRACEPARENT.fullmatch(parent)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceContext(
        found[2], found[3], int(found[4], 16), state if _TRACESTATE.fullmatch(state) else ""
    )


def of_headers(headers: Sequence[tuple[str, str]]) -> str | None:
    """Return the trace context of a request with these headers, their names in lower case.

    Of two ``traceparent`` nobody knows which is right, so they are none (section 3.2.2).
    """
    found = [value for name, value in headers if name == TRACEPARENT]
    if len(found) != 1:
        return None
    states = ",".join([value for name, value in headers if name == TRACESTATE])
    return joined(found[0].strip(" \t"), states.strip(" \t"))


def of_raw_headers(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Return what `of_headers` does, of headers as bytes."""
    return of_headers(
        [
            (name.decode(), value.decode("latin-1"))
            for name, value in headers
            if name in (b"traceparent", b"tracestate")
        ]
    )


def joined(traceparent: str, tracestate: str | None) -> str | None:
    """Return the two headers as one text, or None where they are no trace context."""
    context = read(f"{traceparent} {tracestate or ''}")
    return None if context is None else str(context)


def headers_of(trace: str) -> Sequence[tuple[str, str]]:
    """Return the headers that tell of a trace context."""
    parent, _, state = trace.partition(" ")
    return [(TRACEPARENT, parent), (TRACESTATE, state)] if state else [(TRACEPARENT, parent)]
