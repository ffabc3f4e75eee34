"""The trace context of one attempt (W3C Trace Context, level 1, section 3.2)."""

from __future__ import annotations

import re
from random import Random
from typing import Final

# A later version may append fields; its first four mean the same (section 4.2).
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
_VERSION_00_LENGTH: Final = 55

getrandbits: Final = Random().getrandbits  # noqa: S311 - unlike others', but no secret


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
