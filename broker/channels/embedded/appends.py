"""The events that wait for their commit, and those that are in one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from broker.channels.clock import now
from broker.channels.embedded.records import OVERHEAD, Record, encode_head
from broker.channels.embedded.writing import Row
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event

MAX_PENDING_EVENTS: Final = 100_000
MAX_PENDING_BYTES: Final = 64 << 20
"""What may wait for its commit; beyond, an append is refused."""


class _Append(NamedTuple):
    """One call of `append`, until its commit."""

    events: Sequence[tuple[Event, str, int]]  # with its head and size
    size: int
    to: str | None
    durable: asyncio.Future[None]


class Appends:
    """The end of a broker's log: numbers what is appended, and tells when it is durable.

    ``tail`` is the position of the newest durable event, ``total`` the bytes and ``accepted``
    the number of all that ever were. Positions are used once, unless the commit fails.
    """

    def __init__(self, path: Path, *, tail: int, total: int, accepted: int) -> None:
        self.tail = tail
        self.total = total
        self.accepted = accepted
        self._path = path
        self._waiting: list[_Append] = []
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._taken: list[_Append] = []
        self._records: list[Record] = []

    def __bool__(self) -> bool:
        """Whether anything waits for a commit."""
        return bool(self._waiting)

    def put(self, events: Sequence[Event], to: str | None) -> asyncio.Future[None]:
        """Let the events wait; the future ends with their commit. Raises `ChannelFull`."""
        measured: list[tuple[Event, str, int]] = []
        size = 0
        for event in events:
            head = encode_head(event)
            bytes_taken = len(head) + len(event.data or b"") + OVERHEAD
            measured.append((event, head, bytes_taken))
            size += bytes_taken
        if self._waiting and (
            self._waiting_events + len(measured) > MAX_PENDING_EVENTS
            or self._waiting_bytes + size > MAX_PENDING_BYTES
        ):
            raise ChannelFull(
                f"{self._waiting_events:,} events ({self._waiting_bytes >> 20} MiB) are waiting "
                f"to be stored in {self._path}; the disk does not keep up"
            )
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Append(measured, size, to, durable))
        self._waiting_events += len(measured)
        self._waiting_bytes += size
        return durable

    def take(self) -> tuple[list[Row], Row]:
        """Return what waits as rows of the log, and its tail, total and count with them."""
        self._taken, self._waiting = self._waiting, []
        self._waiting_events = self._waiting_bytes = 0
        time, position, total = now(), self.tail, self.total
        rows: list[Row] = []
        records = self._records = []
        for events, _, to, _ in self._taken:
            for event, head, size in events:
                position += 1
                total += size
                records.append(Record(position, time, event, to, size))
                rows.append((position, time, total, event.hops, to, head, event.data, event.trace))
        return rows, (position, total, self.accepted + len(rows))

    def committed(self) -> list[Record]:
        """Tell those who wait, and return what has become durable."""
        records, self._records = self._records, []
        if records:
            self.tail = records[-1].position
            self.total += sum([append.size for append in self._taken])
            self.accepted += len(records)
        self._tell(None)
        return records

    def failed(self, error: ChannelUnavailable) -> None:
        """Tell those who wait that nothing of theirs was stored."""
        self._records = []
        self._tell(error)

    def _tell(self, error: ChannelUnavailable | None) -> None:
        for append in self._taken:
            resolve(append.durable, error)
        self._taken = []


def resolve(future: asyncio.Future[None], error: ChannelUnavailable | None = None) -> None:
    """End the future, unless whoever waited for it has been cancelled."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:  # one of its own, as each that is raised gathers a traceback
        future.set_exception(ChannelUnavailable(str(error), retry_after=error.retry_after))
