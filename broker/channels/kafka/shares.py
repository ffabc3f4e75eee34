"""What one partition of events brings with it, for whoever holds it.

That is the partition itself, and those of the topics of delays that have the same number; how
far each was swept, and the triggers' places in them, under keys of their own in the topic of
states. Whoever takes a share over writes that first, under an epoch of its own; whoever gives it
up writes that last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from aiokafka import TopicPartition

from broker.channels.kafka.account import Places, count_again
from broker.channels.kafka.partition import Partition, StoredPartition, stored_swept
from broker.channels.kafka.state import StateTopic


class _Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a share, or held it and has left."""

    by: str
    left: bool


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_Owner)


@dataclass(frozen=True, slots=True)
class Names:
    """The partitions of a share, and the keys of their states.

    ``delays`` are the topics of delays, by their names in keys; ``delayed`` is how many
    partitions these have.
    """

    events: str
    delays: Mapping[str, str]
    delayed: int

    def partitions(self, number: int) -> Mapping[TopicPartition, str]:
        """Return the partitions of a share, that of events first, and the names of their states."""
        names = {TopicPartition(self.events, number): f"{number}"}
        if number < self.delayed:
            for name, topic in self.delays.items():
                names[TopicPartition(topic, number)] = f"{number}+{name}"
        return names


def owner_key(number: int) -> str:
    return f"{number}="


def is_free(state: StateTopic, number: int, me: str) -> bool:
    """Return whether nobody else holds the share, as far as is known."""
    value = state.get(owner_key(number))
    owner = None if value is None else _decoder.decode(value)
    return owner is None or owner.left or owner.by == me


def stored_partitions(
    state: StateTopic, names: Collection[str]
) -> Mapping[str, StoredPartition | None]:
    """Return how the partitions of these names stand, None for one that is new."""
    values: dict[str, dict[str, bytes]] = {name: {} for name in names}
    for key, value in state.items().items():
        name, _, trigger = key.partition(":")
        if name in values:
            values[name][trigger] = value
    return {name: _stored_partition(found) for name, found in values.items()}


def _stored_partition(values: Mapping[str, bytes]) -> StoredPartition | None:
    if "" not in values:
        return None
    places = {trigger: value for trigger, value in values.items() if trigger}
    return StoredPartition(swept=stored_swept(values[""]), places=places)


class Share:
    """A share that this process holds. ``events`` is its partition of events."""

    def __init__(
        self,
        number: int,
        partitions: Mapping[TopicPartition, Partition],
        *,
        state: StateTopic,
        epoch: int,
        me: str,
    ) -> None:
        self.number = number
        self.partitions = partitions
        self.events, *self.delays = partitions.values()
        self._state = state
        self._epoch = epoch
        self._me = me
        self._turn = asyncio.Lock()

    @property
    def topic(self) -> str:
        """The topic of the broker's events."""
        return str(next(iter(self.partitions)).topic)

    async def claim(self) -> bool:
        """Write that this process holds it now; return whether nobody took it meanwhile."""
        return await self._write(self._owner(left=False))

    async def flush(self) -> bool:
        """Store what has changed; return whether the share is still this process's.

        Raises `ChannelUnavailable` or `ChannelFull`: then it is stored the next time.
        """
        return await self._write({})

    async def give_up(self) -> None:
        """Store what has changed, and that the share is free. Raises likewise."""
        await self._write(self._owner(left=True))

    def _owner(self, *, left: bool) -> Mapping[str, bytes]:
        return {owner_key(self.number): _encoder.encode(_Owner(by=self._me, left=left))}

    async def _write(self, last: Mapping[str, bytes]) -> bool:
        async with self._turn:
            taken: list[Partition] = []
            changes: dict[str, bytes | None] = {}
            for partition in self.partitions.values():
                found = partition.take_changes()
                taken.append(partition)
                changes.update({f"{partition.name}:{key}": value for key, value in found.items()})
            changes.update(last)
            stored = False
            try:
                lost = await self._state.write(changes, epoch=self._epoch) if changes else ()
                stored = True
            finally:
                for partition in taken:
                    if stored:
                        partition.stored()
                    else:
                        partition.failed()
            return not lost

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.partitions.values())

    def places(self, trigger: str) -> Places:
        """Return those of a trigger that has one in the partition of events."""
        delays = [each.places()[trigger] for each in self.delays if trigger in each.places()]
        return self.events.places()[trigger], delays

    def came_back(self, triggers: Iterable[str]) -> None:
        """Note that deliveries to these have been swept that were put off."""
        for trigger in triggers:
            if trigger in self.events.places():
                count_again(self.places(trigger))

    def of_events(self) -> Iterable[tuple[TopicPartition, Partition]]:
        """Return the partition of events alone, and which it is."""
        return list(self.partitions.items())[:1]

    def of_delays(self) -> Iterable[tuple[TopicPartition, Partition]]:
        """Return the partitions of delays, and which they are."""
        return list(self.partitions.items())[1:]
