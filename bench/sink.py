"""The subscribers, a process of their own: `python -m bench.sink PORT`.

Every path is a place that counts its arrivals by run; `/after/MILLISECONDS/…` answers only then.
What has arrived is asked for under `/-/`, see `Sink.answer`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final, cast

import msgspec
import uvloop

from bench.ledger import Arrived
from bench.wire import Messages, header

_ID: Final = b"\r\nce-id:"
_TAKEN: Final = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How many different events of a run have arrived at a place, and when the last one did."""

    events: int
    last: int


class Sink:
    """All that has arrived, by place and run."""

    def __init__(self) -> None:
        self._arrived: dict[tuple[bytes, bytes], Arrived] = {}
        self.unreadable = 0

    def note(self, path: bytes, id: bytes | None) -> None:
        """Count an arrival; `answer` tells of those that are none of the load generator's."""
        now = time.monotonic_ns()
        try:
            run, number, due = (id or b"").split(b"-")
            arrived = self._arrived.get((run, path))
            if arrived is None:
                arrived = self._arrived[run, path] = Arrived()
            arrived.note(int(number), int(due), now)
        except ValueError:
            self.unreadable += 1

    def answer(self, path: bytes) -> bytes:
        """Return what is asked for.

        That is `/-/places/RUN` in JSON, or the raw bytes of `/-/counts/RUN/…` or of
        `/-/latencies/RUN/…`, where … is the path of the place without its slash.
        """
        _, _, what, run, *rest = path.split(b"/", 4)
        if what == b"places":
            places = {
                place.decode(): Place(events=arrived.events, last=arrived.last)
                for (of, place), arrived in self._arrived.items()
                if of == run
            }
            if self.unreadable:
                places["unreadable"] = Place(events=self.unreadable, last=0)
            return msgspec.json.encode(places)
        arrived = self._arrived.get((run, b"/" + rest[0])) or Arrived()
        return bytes(arrived.counts) if what == b"counts" else arrived.latencies.tobytes()


class Subscriber(asyncio.Protocol):
    """One connection to the sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._messages = Messages()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for head in self._messages.heads(data):
            method, path, _ = head.split(b" ", 2)
            if method == b"get":
                body = self._sink.answer(path)
                length = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
                self._transport.write(length + body)
                continue
            self._sink.note(path, header(head, _ID))
            if path.startswith(b"/after/"):
                delay = int(path.split(b"/")[2]) / 1000
                asyncio.get_running_loop().call_later(delay, self._transport.write, _TAKEN)
            else:
                self._transport.write(_TAKEN)


async def serve(port: int) -> None:
    """Serve until the process ends."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Subscriber(sink), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
