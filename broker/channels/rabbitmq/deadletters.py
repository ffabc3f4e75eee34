"""The broker's own dead-letter store: a stream of letters, and of what was removed of them.

A dead letter's id is its offset, so that ids are in the order of burial whoever buries, and lead
to the entry. Burying reads nothing. Whoever lists, gets or removes reads the stream up to its end,
and remembers of each letter the offset, the trigger and a digest that tells the delivery: about
310 bytes. Events are read again when they are asked for.

Nothing can be taken out of a stream. A letter that was removed is told to nobody, and stays on
the disks for as long as the stream is there. When no letter is left, an operator may delete the
stream while no process of the broker runs; it is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from hashlib import blake2b
from itertools import islice
from typing import Final, Self

import msgspec

from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.publishing import Outgoing, Publishing
from broker.channels.rabbitmq.stamps import Stamps, accepted_at, time_of
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.codecs.amqp import Message, encode
from broker.codecs.notes import Notes
from broker.connections.rabbitmq.connecting import at
from broker.errors import ChannelUnavailable, InvalidEvent
from broker.event import Event
from broker.ports import DeadLetter, Refusal

_DELIVERY: Final = "cemesh-delivery"
_REMOVED: Final = "cemesh-removed"
_REMOVED_AT_ONCE: Final = 10_000
_APART: Final = 30
"""Entries that are read in vain rather than to ask the server once more, which takes 5 ms."""

_offsets: Final = msgspec.json.Decoder(list[int])
_log: Final = logging.getLogger("cemesh.channel")


class RabbitmqDeadLetters:
    """See `broker.ports.DeadLetters`. All methods raise `ChannelUnavailable`."""

    def __init__(self, link: Link, publishing: Publishing, name: str, stamps: Stamps) -> None:
        self._stream = Stream(link, name)
        self._publishing = publishing
        self._stamps = stamps
        self._index = _Index()
        self._reached = 0
        self._catching_up = asyncio.Lock()
        self._removed: dict[str | None, int] = {}

    async def __aenter__(self) -> Self:
        """Make the stream, unless it is there. It has no limits."""
        await self._stream.declare()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def bury(self, trigger: str, event: Event, why: Refusal, *, delivery: str) -> None:
        """Return once the event is durable as a dead letter of that trigger.

        ``delivery`` tells it from all others of the trigger; burying the same one again changes
        nothing, unless it has been removed. Raises what `Publishing.publish` raises.
        """
        message = encode(event, Notes(to=trigger, condemned=why))
        await self._append(message, self._stamps.new(), {_DELIVERY: delivery})

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        await self._catch_up()
        offsets = list(islice(self._index.after(_offset(after), trigger), limit))
        return await self._letters(offsets)

    async def get(self, id: str) -> DeadLetter | None:
        await self._catch_up()
        offset = _offset(id)
        return next(iter(await self._letters([offset])), None) if offset in self._index else None

    async def remove(self, ids: Sequence[str]) -> int:
        """Remove these dead letters and return how many there were, whoever else removes them.

        Raises what `Publishing.publish` raises.
        """
        await self._catch_up()
        offsets = sorted(offset for offset in set(map(_offset, ids)) if offset in self._index)
        removed = 0
        for start in range(0, len(offsets), _REMOVED_AT_ONCE):
            removed += await self._remove(offsets[start : start + _REMOVED_AT_ONCE])
        return removed

    async def _remove(self, offsets: Sequence[int]) -> int:
        message = Message(
            body=msgspec.json.encode(offsets), headers={}, content_type="application/json"
        )
        stamp = self._stamps.new()
        self._removed[stamp] = len(offsets)
        try:
            await self._append(message, stamp, {_REMOVED: "true"})
            await self._catch_up()
            return self._removed[stamp]
        finally:
            del self._removed[stamp]

    async def _append(self, message: Message, stamp: str, headers: Mapping[str, str]) -> None:
        name = self._stream.name
        outgoing = Outgoing(message=message, stamp=stamp, routing_key=name, headers=headers)
        if await self._publishing.publish([outgoing]):  # somebody has deleted the stream
            await self._stream.declare()
            if await self._publishing.publish([outgoing]):
                where = at(self._stream.link.settings)
                raise ChannelUnavailable(f"{where} has no stream '{name}': was it deleted again?")
        self._stream.appended()

    async def _catch_up(self) -> None:
        """Return once all is known that has been buried and removed, by whomever."""
        async with self._catching_up:
            end = await self._stream.end()
            if end < self._reached:
                _log.warning("dead letters are gone", extra={"stream": self._stream.name})
                self._index = _Index()
                self._reached = 0
            async with aclosing(self._stream.read(self._reached, end)) as entries:
                async for entry in entries:
                    self._take(entry)
                    self._reached = entry.offset + 1

    def _take(self, entry: Entry) -> None:
        try:
            if _REMOVED in entry.headers:
                removed = sum(map(self._index.discard, _offsets.decode(entry.body)))
                if entry.stamp in self._removed:
                    self._removed[entry.stamp] = removed
            else:
                trigger = _letter(entry).trigger
                delivery = entry.headers.get(_DELIVERY, entry.stamp)
                self._index.add(entry.offset, trigger, _digest(trigger, delivery))
        except (InvalidEvent, msgspec.DecodeError) as error:
            extra = {"stream": self._stream.name, "offset": entry.offset, "why": str(error)}
            _log.warning("dead letter not readable", extra=extra)

    async def _letters(self, offsets: Sequence[int]) -> Sequence[DeadLetter]:
        letters: list[DeadLetter] = []
        wanted = frozenset(offsets)
        for first, last in _runs(offsets):
            async with aclosing(self._stream.read(first, last + 1)) as entries:
                async for entry in entries:
                    if entry.offset in wanted:
                        with suppress(InvalidEvent):  # of a stream that was made anew just now
                            letters.append(_letter(entry))
        return letters


class _Index:
    """Where the dead letters are that have not been removed."""

    def __init__(self) -> None:
        self._letters: dict[int, tuple[str, int]] = {}
        self._digests: set[int] = set()
        self._order = array("Q")  # ascending, those that are gone among them

    def __contains__(self, offset: int) -> bool:
        return offset in self._letters

    def add(self, offset: int, trigger: str, digest: int) -> None:
        """Note a letter, unless one of that delivery is there."""
        if digest not in self._digests:
            self._digests.add(digest)
            self._letters[offset] = sys.intern(trigger), digest
            self._order.append(offset)

    def discard(self, offset: int) -> bool:
        """Forget a letter, and return whether it was there."""
        letter = self._letters.pop(offset, None)
        if letter is None:
            return False
        self._digests.discard(letter[1])
        if len(self._order) > 2 * len(self._letters) + 1000:
            self._order = array("Q", self._letters)
        return True

    def after(self, offset: int, trigger: str | None) -> Iterator[int]:
        """Yield the offsets behind this one, of that trigger or of all."""
        order = self._order
        for place in range(bisect_right(order, offset), len(order)):
            letter = self._letters.get(order[place])
            if letter is not None and trigger in (None, letter[0]):
                yield order[place]


def _offset(id: str | None) -> int:
    """Return the letter's offset, or -1, which is before any, where the id is none of ours."""
    return int(id) if id and id.isascii() and id.isdigit() and len(id) < 19 else -1


def _runs(offsets: Sequence[int]) -> Sequence[tuple[int, int]]:
    """Return the first and the last of ascending offsets that are near to each other."""
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][1] <= _APART:
            runs[-1] = runs[-1][0], offset
        else:
            runs.append((offset, offset))
    return runs


def _digest(trigger: str, delivery: object) -> int:
    """Return what tells the delivery that was given up from all others."""
    told = f"{trigger} {delivery}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(told, digest_size=16).digest())


def _letter(entry: Entry) -> DeadLetter:
    """Return the dead letter; raises `InvalidEvent` where it is none."""
    event, notes = entry.decode()
    accepted = accepted_at(entry.stamp)
    if notes.to is None or notes.condemned is None or accepted is None:
        raise InvalidEvent("it does not say of which trigger it is, why, and when")
    return DeadLetter(
        id=f"{entry.offset:016d}",
        trigger=notes.to,
        event=event,
        why=notes.condemned,
        buried_at=time_of(accepted),
    )
