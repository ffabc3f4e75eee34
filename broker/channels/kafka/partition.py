"""One partition that this process holds: swept here, and nowhere else meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from broker.channels.kafka.entries import Entry
from broker.channels.kafka.place import KafkaPlace, StoredPlace, new_place, stored_place
from broker.channels.kafka.subscriptions import Subscriptions
from broker.channels.place import Log, Spawn
from broker.filters import Filter


class _Swept(msgspec.Struct, frozen=True):
    """How far a partition was swept, as it stands in the topic of states."""

    swept: int


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_Swept)


class Cursor(Protocol):
    """What a partition sees of a subscription."""

    @property
    def filter(self) -> Filter: ...

    @property
    def ordered(self) -> bool: ...

    def ready(self, place: KafkaPlace) -> None:
        """The place may have something to claim."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPartition:
    """A partition as it was stored: up to which offset it was swept, and trigger → place."""

    swept: int
    places: Mapping[str, bytes]


def stored_swept(value: bytes) -> int:
    """Return how far a partition was swept."""
    return _decoder.decode(value).swept


class Partition:
    """Sweeps what it is given in the order of the offsets, and keeps the triggers' places.

    The state of the partition itself has the key ``""``, that of a place its trigger's.
    """

    def __init__(
        self,
        number: int,
        name: str,
        stored: StoredPartition,
        *,
        subscriptions: Subscriptions[Any],
        log: Callable[[str], Log[Entry]],
        spawn: Spawn,
    ) -> None:
        self.number = number
        self.name = name
        self.swept = stored.swept
        self.in_hand = False  # whether records are being swept
        self._subscriptions: Subscriptions[Cursor] = subscriptions
        self._log = log
        self._spawn = spawn
        self._places = {
            trigger: self._place(stored_place(trigger, value, stored.swept))
            for trigger, value in stored.places.items()
        }
        self._changed: dict[str, KafkaPlace] = {}
        self._taken: dict[str, KafkaPlace] = {}
        self._stored_swept: int | None = None  # it is stored anew by whoever takes it over
        self._taken_swept = stored.swept

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, trigger: str, cursor: Cursor, *, behind: int | None = None) -> KafkaPlace:
        """Let the trigger's place be claimed from by the cursor, which is subscribed already.

        One that is new begins behind the offset ``behind``, or behind what has been swept.
        """
        place = self._places.get(trigger)
        if place is None:
            begins = self.swept if behind is None else behind
            place = self._add(new_place(trigger, repr(cursor.filter), begins))
        entered = place
        place.enter(cursor.filter, lambda: cursor.ready(entered), ordered=cursor.ordered)
        cursor.ready(place)  # with what it was given back
        return place

    def note_absent(self) -> None:
        """Store it of the triggers that are not subscribed here, before anything is swept.

        Otherwise what is swept from now on would count as offered to those that were there.
        """
        for place in self._places.values():
            if place.was_there and not place.subscribed:
                self._note(place)

    def leave(self, trigger: str) -> None:
        """End the subscription."""
        place = self._places.get(trigger)
        if place is not None and place.subscribed:
            place.leave()

    # --- sweeping --------------------------------------------------------------------------

    def sweep(self, entry: Entry) -> None:
        """Offer the entry, which is the next, to the triggers that it is for."""
        if entry.to is None:
            matching = self._subscriptions.matching(entry.event.attributes)
            self.swept = entry.position
            for trigger in matching:
                self._places[trigger].offer(entry)
        else:
            place = self._place_of(entry.to)
            self.swept = entry.position
            if place.subscribed:
                place.offer(entry)

    def _place_of(self, trigger: str) -> KafkaPlace:
        """Return the trigger's place, which begins here if it is new.

        So one that is not subscribed finds what is for it when it comes.
        """
        place = self._places.get(trigger)
        if place is None:
            cursor = self._subscriptions.get(trigger)
            if cursor is not None:
                return self.enter(trigger, cursor)
            place = self._add(new_place(trigger, "", self.swept))
            self._note(place)
        return place

    def skip(self, offset: int) -> None:
        """Go past what holds no event."""
        self.swept = max(self.swept, offset)

    # --- what is stored --------------------------------------------------------------------

    def take_changes(self) -> dict[str, bytes]:
        """Return what has changed, to be stored in this order, as one or not at all."""
        self._taken, self._changed = self._changed, {}
        self._taken_swept = self.swept
        changes = {trigger: place.encoded() for trigger, place in self._taken.items()}
        if self._taken_swept != self._stored_swept:
            changes[""] = _encoder.encode(_Swept(self._taken_swept))
        return changes

    def stored(self) -> None:
        """All of the changes that were taken are durable."""
        self._stored_swept = self._taken_swept
        self._taken = {}

    def failed(self) -> None:
        """None of them may be."""
        self._changed = {**self._taken, **self._changed}
        self._taken = {}

    # --- what is needed --------------------------------------------------------------------

    def needed(self) -> int:
        """Return the first offset that any trigger needs, or the next where none needs one."""
        wanted = [place.oldest_needed() for place in self._places.values()]
        return min(wanted, default=self.swept + 1)

    def worked_off(self) -> int:
        """Return the same among the triggers that are subscribed and keep up."""
        keeping_up = [each for each in self._places.values() if each.keeps_up]
        return min([each.oldest_needed() for each in keeping_up], default=self.swept + 1)

    def undone(self) -> int:
        """Return the same among the triggers that are subscribed, whether they keep up or not."""
        subscribed = [each for each in self._places.values() if each.subscribed]
        return min([each.oldest_needed() for each in subscribed], default=self.swept + 1)

    # --- the account -----------------------------------------------------------------------

    def places(self) -> Mapping[str, KafkaPlace]:
        """Return the places by trigger, of those that have gone as well."""
        return self._places

    def _add(self, stored: StoredPlace) -> KafkaPlace:
        place = self._places[stored.trigger] = self._place(stored)
        return place

    def _place(self, stored: StoredPlace) -> KafkaPlace:
        return KafkaPlace(
            stored,
            self._log(stored.trigger),
            number=self.number,
            partition=self.name,
            swept=lambda: self.swept,
            changed=self._note,
            spawn=self._spawn,
        )

    def _note(self, place: KafkaPlace) -> None:
        self._changed[place.trigger] = place
