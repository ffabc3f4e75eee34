"""A trigger's place in one partition, and how it is stored.

A place is stored when it has changed, and after all of them how far the partition was swept. So
a place that was not stored again has met nothing since: it stands where the partition does. One
that was stored just before a crash says itself up to where it was counted, and is offered
nothing from before that again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.channels.backlog import Tally
from broker.channels.kafka.entries import Entry
from broker.channels.place import Held, Log, Place, Spawn, Stored
from broker.errors import ChannelUnavailable
from broker.ports import Refusal

_log: Final = logging.getLogger("cemesh.channel")

_ELSEWHERE: Final = 1_000
"""Deliveries that may wait to be stored elsewhere; beyond, a trigger claims no more."""

_RETRY: Final = 1.0


class PlaceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place as it stands in the topic of states.

    ``read`` is None where all that was swept is taken, ``counted`` up to where it had been
    swept, ``left_at`` the same when the trigger went, None while it is there. ``put_off``
    counts the deliveries that were handed to the topics of delays.
    """

    filter: str
    counted: int
    read: int | None = None
    open: list[tuple[int, int, Refusal | None]] = []
    matched: int = 0
    unread: int = 0
    gap: tuple[int, int] = (0, 0)
    delivered: int = 0
    dead: int = 0
    put_off: int = 0
    left_at: int | None = None
    gone: bool = False


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(PlaceRecord)


@dataclass(slots=True, kw_only=True)
class StoredPlace(Stored):
    """A place to go on from. Nothing up to ``counted`` is to be offered to it."""

    counted: int
    put_off: int = 0


def new_place(trigger: str, filter: str, behind: int) -> StoredPlace:
    """Return the place of a trigger that is new, and begins behind that offset."""
    return StoredPlace(
        trigger=trigger,
        filter=filter,
        read=behind,
        open=[],
        tally=Tally(),
        delivered=0,
        dead=0,
        left_at=behind,
        gone=False,
        counted=behind,
    )


def stored_place(trigger: str, value: bytes, swept: int) -> StoredPlace:
    """Return a place as it was stored, in a partition that was swept so far."""
    row = _decoder.decode(value)
    # While it was there, whatever was swept after it was stored did not match.
    reached = max(row.counted, swept) if row.left_at is None else row.left_at
    return StoredPlace(
        trigger=trigger,
        filter=row.filter,
        read=reached if row.read is None else row.read,
        open=row.open,
        tally=Tally(matched=row.matched, unread=row.unread, gap=row.gap),
        delivered=row.delivered,
        dead=row.dead,
        left_at=reached,
        gone=row.gone,
        counted=row.counted,
        put_off=row.put_off,
    )


class KafkaPlace(Place[Entry]):
    """A place whose deliveries are put off, and buried, in other topics."""

    def __init__(
        self,
        stored: StoredPlace,
        log: Log[Entry],
        *,
        swept: Callable[[], int],
        changed: Callable[[KafkaPlace], None],
        spawn: Spawn,
    ) -> None:
        counted = stored.counted
        super().__init__(
            stored,
            log,
            # What was swept for this place alone, before a crash, is in the log all the same.
            swept=lambda: max(swept(), counted),
            changed=lambda: changed(self),
            spawn=spawn,
        )
        self.put_off = stored.put_off
        self._counted = counted
        self._going = 0

    def offer(self, entry: Entry) -> None:
        if entry.position > self._counted:
            super().offer(entry)

    def claim(self) -> Held[Entry] | None:
        return None if self._going > _ELSEWHERE else super().claim()

    def first_held(self, entry: Entry) -> Held[Entry]:
        return Held(entry, entry.attempts, entry.condemned)

    def defer(
        self,
        position: int,
        attempts: int,
        condemned: Refusal | None,
        store: Callable[[], Awaitable[None]],
    ) -> None:
        """Be done with a claim once ``store`` has put it off, durably.

        ``store`` raises `ChannelUnavailable`, and is then called again. Until it is through,
        a crash lets the claim come back with these attempts.
        """
        entry = self._open[position].entry
        self._open[position] = Held(entry, attempts, condemned)
        self._changed()

        def stored() -> None:
            self.put_off += 1

        self._store_elsewhere(position, store, stored)

    def bury(self, position: int, store: Callable[[], Awaitable[None]]) -> None:
        """Be done with a claim once ``store`` has made a dead letter of it, likewise."""

        def stored() -> None:
            self.dead += 1

        self._store_elsewhere(position, store, stored)

    def _store_elsewhere(
        self, position: int, store: Callable[[], Awaitable[None]], stored: Callable[[], None]
    ) -> None:
        async def go() -> None:
            while True:
                try:
                    await store()
                except ChannelUnavailable as error:
                    _log.warning("cannot store", extra={"trigger": self.trigger, "why": str(error)})
                    await asyncio.sleep(_RETRY)
                else:
                    break
            self._going -= 1
            self.close(position)
            stored()
            self.wake()

        self._going += 1
        self._spawn(go())

    def encoded(self) -> bytes:
        """Return what is to be stored of the place now."""
        read, tally = self.backlog.as_stored()
        return _encoder.encode(
            PlaceRecord(
                filter=self.filter_text,
                counted=self._swept(),
                read=read,
                open=self.open_items(),
                matched=tally.matched,
                unread=tally.unread,
                gap=tally.gap,
                delivered=self.delivered,
                dead=self.dead,
                put_off=self.put_off,
                left_at=self.left_at,
                gone=self.gone,
            )
        )
