"""LogSink: a line of the mesh's own output for each event."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final, Literal

from broker.codecs.json import encode_event
from broker.event import Event
from broker.manifest.shapes import Shape
from broker.ports import Accepted, Answer, Refused, SinkContext

_SHOWN: Final = ("type", "source", "id", "subject")


class LogSinkSpec(Shape):
    """``text`` is for people, without the payload; ``json`` is the whole event, in one line."""

    format: Literal["text", "json"] = "text"


class LogSink:
    """Writes a line for each event to the mesh's standard output."""

    def __init__(self, spec: LogSinkSpec, context: SinkContext) -> None:
        self._as_json = spec.format == "json"
        self._name = f"{context.namespace}/{context.name}"
        self._one_at_a_time = asyncio.Lock()

    async def attempt(self, event: Event) -> Answer:
        """Return once the line is written, however long whoever reads it takes."""
        line = self._line(event)
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(_print, line)
            except OSError as error:
                return Refused(reason=f"the standard output: {error.strerror}")
        return Accepted()

    def _line(self, event: Event) -> bytes:
        if self._as_json:
            return encode_event(event).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
        shown = [f"{name}={event.attributes[name]}" for name in _SHOWN if name in event.attributes]
        size = len(event.data or b"")
        text = f"{self._name}  {'  '.join(shown)}  {size} bytes"
        return text.encode("unicode_escape" if not text.isprintable() else "utf-8") + b"\n"


def _print(line: bytes) -> None:
    sys.stdout.flush()
    left = memoryview(line)
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]
