"""A trigger's place in one partition, and how it is stored.

A place is stored when it has changed, and after all of them how far the partition was swept. So
a place that was not stored again has met nothing since: it stands where the partition does. One
that was stored just before a crash says itself up to where it was counted, and is offered
nothing from before that again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.channels.backlog import Tally
from broker.channels.kafka.entries import Entry
from broker.channels.line import StoredLine
from broker.channels.place import Held, Log, Place, Spawn, Stored
from broker.errors import CemeshError, ChannelUnavailable
from broker.ports import Refusal

_ELSEWHERE: Final = 1_000
"""Deliveries that may wait to be stored elsewhere; beyond, a trigger claims no more."""

_RETRY: Final = 1.0


class PlaceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place as it stands in the topic of states.

    ``read`` is None where all that was swept is taken, ``counted`` up to where it had been
    swept, ``left_at`` the same when the trigger went, None while it is there. ``put_off``
    counts the deliveries that were handed to the topics of delays. ``due`` and ``lines`` are those
    of `Stored`.
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
    due: list[tuple[int, int]] = []
    lines: list[StoredLine] = []


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(PlaceRecord)


@dataclass(slots=True, kw_only=True)
class StoredPlace(Stored):
    """A place to go on from. Nothing up to ``counted`` is to be offered to it.

    ``was_there`` is whether the trigger had not gone, whoever held the partition.
    """

    counted: int
    put_off: int = 0
    was_there: bool = False


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
        due=row.due,
        lines=row.lines,
        counted=row.counted,
        put_off=row.put_off,
        was_there=row.left_at is None,
    )


class KafkaPlace(Place[Entry]):
    """A place whose deliveries are put off, and buried, in other topics."""

    def __init__(
        self,
        stored: StoredPlace,
        log: Log[Entry],
        *,
        number: int,
        partition: str,
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
        self.number = number
        self.partition = partition
        self.put_off = stored.put_off
        self.was_there = stored.was_there
        self._counted = counted
        self._going = 0
        self._burying = 0
        self._halted = False
        self._let_go = False

    def offer(self, entry: Entry) -> None:
        if entry.position > self._counted:
            super().offer(entry)

    def claim(self) -> Held[Entry] | None:
        return None if self._halted or self._going > _ELSEWHERE else super().claim()

    def hungry(self) -> bool:
        return not self._halted and super().hungry()

    def halt(self) -> None:
        """Claim no more. What is out may still be settled."""
        self._halted = True

    def let_go(self) -> None:
        """Put off and bury nothing from here any more: another process does it all again."""
        self._halted = self._let_go = True

    @property
    def keeps_up(self) -> bool:
        """Whether it is subscribed, and takes events as they are swept."""
        return self.subscribed and not self.backlog.behind

    @property
    def putting_off(self) -> int:
        """How many deliveries are being put off, and may come back before that is counted."""
        return self._going - self._burying

    @property
    def going(self) -> int:
        """How many deliveries are being stored elsewhere."""
        return self._going

    def tell_unread(self, error: ChannelUnavailable) -> None:
        """Its log has told, once for all triggers that cannot be read for."""

    def first_held(self, entry: Entry) -> Held[Entry]:
        return Held(entry, entry.attempts, entry.condemned)

    def held_again(self, entry: Entry, attempts: int, condemned: Refusal | None) -> Held[Entry]:
        return Held(entry, attempts, condemned or entry.condemned)

    def open_items(self) -> list[tuple[int, int, Refusal | None]]:
        # What the record itself says of a refusal is not stored again: of a thousand it might be
        # more than Kafka takes.
        return [
            (at, attempts, None if at in self._claims.open and self._has_told(at, why) else why)
            for at, attempts, why in super().open_items()
        ]

    def _has_told(self, position: int, condemned: Refusal | None) -> bool:
        return self._claims.open[position].entry.condemned == condemned

    def defer(
        self,
        position: int,
        attempts: int,
        condemned: Refusal | None,
        store: Callable[[], Awaitable[None]],
    ) -> None:
        """Be done with a claim once ``store`` has put it off, durably.

        ``store`` may raise a `CemeshError`, and is then called again. Until it is through,
        a crash lets the claim come back with these attempts.
        """
        entry = self._claims.open[position].entry
        self._claims.open[position] = Held(entry, attempts, condemned)
        self._changed()

        def stored() -> None:
            self.put_off += 1

        self._store_elsewhere(position, store, stored)

    def bury(self, position: int, store: Callable[[], Awaitable[None]]) -> None:
        """Be done with a claim once ``store`` has made a dead letter of it, likewise."""

        def stored() -> None:
            self._burying -= 1
            self.dead += 1

        self._burying += 1
        self._store_elsewhere(position, store, stored)

    def count_again(self, deliveries: int) -> None:
        """Count so many as matched, and put off, that nobody here knew of before."""
        if deliveries:
            self.backlog.tally.matched += deliveries
            self.put_off += deliveries
            self._changed()

    @property
    def dead_lettered(self) -> int:
        """How many deliveries were given up, and are a dead letter or about to be one."""
        return self.dead + self._burying

    @property
    def waiting(self) -> int:
        return super().waiting - self._burying

    def _store_elsewhere(
        self, position: int, store: Callable[[], Awaitable[None]], stored: Callable[[], None]
    ) -> None:
        async def go() -> None:
            while not self._let_go:
                try:
                    await store()
                except CemeshError:  # of which whoever stores has told
                    await asyncio.sleep(_RETRY)
                else:
                    self.close(position)
                    stored()
                    break
            self._going -= 1
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
                due=self.due_items(),
                lines=self.line_items(),
            )
        )
