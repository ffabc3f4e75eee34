"""FileSink: a line of JSON for each event, in a file that is rotated."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from broker.codecs.json import encode_event
from broker.event import Event
from broker.formats import is_json
from broker.manifest.policyshapes import Bytes
from broker.manifest.shapes import Shape
from broker.ports import Accepted, Answer, Refused
from sinks.filewriting import Rotated

_TOGETHER: Final = 1000
"""Lines that one sync makes durable, at most."""


class Rotation(Shape):
    """When a file is put aside, and how many of those are kept."""

    max_bytes: Bytes = 64 << 20
    keep: Annotated[int, Field(ge=1, le=10_000)] = 5


class FileSinkSpec(Shape):
    """Where the lines go, and what they are.

    ``path`` is absolute, or relative to the folder that cemesh was started in. Of ``format``
    ``cloudevents``, a line is the event in the JSON format; of ``data``, it is its payload.
    """

    path: Annotated[str, Field(min_length=1)]
    format: Literal["cloudevents", "data"] = "cloudevents"
    rotate: Rotation | None = None


class FileSink:
    """Appends a line of JSON for each event to a file, durably, and rotates it."""

    def __init__(self, spec: FileSinkSpec) -> None:
        self._as_data = spec.format == "data"
        rotation = spec.rotate
        self._file = Rotated(
            Path(spec.path),
            max_bytes=None if rotation is None else rotation.max_bytes,
            keep=0 if rotation is None else rotation.keep,
        )
        self._thread = ThreadPoolExecutor(1, "cemesh-file-sink")
        self._pending: list[tuple[bytes, asyncio.Future[OSError | None]]] = []
        self._writing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Return once all is written that was begun."""
        await asyncio.to_thread(self._thread.shutdown)
        self._file.close()

    async def attempt(self, event: Event) -> Answer:
        """Return once the line is durable: many share one sync."""
        try:
            line = self._line(event)
        except ValueError as error:
            return Refused(reason=str(error), permanent=True)
        fault = await self._put(line)
        if fault is None:
            return Accepted()
        return Refused(reason=f"{self._file.path}: {fault.strerror or fault}")

    def _line(self, event: Event) -> bytes:
        text = _json_of(event) if self._as_data else encode_event(event)
        # Between the tokens of JSON a line break is but a blank; within, it is never one.
        return text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"

    def _put(self, line: bytes) -> asyncio.Future[OSError | None]:
        written: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
        self._pending.append((line, written))
        if not self._writing:
            self._write()
        return written

    def _write(self) -> None:
        """Have the lines written that wait, as far as one sync takes them."""
        batch, self._pending = self._pending[:_TOGETHER], self._pending[_TOGETHER:]
        self._writing = True
        lines = b"".join([line for line, _ in batch])
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._file.append, lines)

        def written(done: asyncio.Future[None]) -> None:
            fault = done.exception()
            for _, waits in batch:
                if waits.done():  # whoever waited has given up
                    continue
                if fault is None or isinstance(fault, OSError):
                    waits.set_result(fault)
                else:
                    waits.set_exception(fault)
            self._writing = False
            if self._pending:
                self._write()

        work.add_done_callback(written)


def _json_of(event: Event) -> bytes:
    """Return the payload, which has to be JSON; raises `ValueError`."""
    if event.data is None:
        raise ValueError("the event has no payload, and format 'data' writes nothing else")
    content_type = event.attributes.get("datacontenttype")
    if content_type is not None and not is_json(content_type):
        raise ValueError(f"the payload is {content_type}, and a line of format 'data' is JSON")
    try:
        json.loads(event.data)
    except ValueError as error:
        raise ValueError(f"the payload is not JSON: {error}") from error
    except RecursionError:
        raise ValueError("the payload is JSON that is nested too deep") from None
    return event.data
