"""The trace context that an attempt goes out with (W3C Trace Context, level 1, section 3)."""

from __future__ import annotations

import re
from random import Random
from typing import Final

from broker.codecs.http import written
from broker.event import Event
from broker.tracecontext import headers_of

# A later version may append fields; its first four mean the same (section 4.2).
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
_VERSION_00_LENGTH: Final = 55

getrandbits: Final = Random().getrandbits  # noqa: S311 - unlike others', but no secret


def trace_headers(event: Event) -> list[tuple[bytes, bytes]]:
    """Return the headers of an attempt with the event: of the span that it comes from.

    Where that is not known, they are of a span of its own that nobody records.
    """
    if event.trace is None:
        return [(b"traceparent", traceparent(event.attributes.get("traceparent")))]
    return [(name.encode(), value.encode()) for name, value in headers_of(event.trace)]


def trace_lines(event: Event) -> bytes:
    """Return `trace_headers` as lines of a request, each behind a line break."""
    if event.trace is None:
        return b"\r\ntraceparent: " + traceparent(event.attributes.get("traceparent"))
    return written(trace_headers(event))


def traceparent(start: str | None) -> bytes:
    """Return a ``traceparent`` header for one attempt: a span of its own in the event's trace.

    ``start`` is the event's own ``traceparent`` attribute. Where it is absent or not valid, a
    trace begins here, marked as sampled: otherwise the subscriber's tracing, which follows
    its caller's decision, would be switched off by a mesh that records no spans at all.
    """
    found = None if start is None else _TRACEPARENT.fullmatch(start)
    if found and start and (not start.startswith("00") or len(start) == _VERSION_00_LENGTH):
        trace, flags = found[1], found[2]
    else:
        trace, flags = f"{getrandbits(128) | 1:032x}", "01"
    return f"00-{trace}-{getrandbits(64) | 1:016x}-{flags}".encode("ascii")
