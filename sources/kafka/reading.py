"""What the partitions of this process have, from where on they are to be read.

aiokafka loses records where it meets one that it cannot take apart: those that it had read before
it, of the same partition and of others. So it is known here up to where all has been emitted, and
from there on everything is read again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from sources.kafka.connecting import commit
from sources.kafka.records import Record

_MOST: Final = 500
_WAIT_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Records, in the order of each partition, and the offsets after them.

    ``places`` is what they count on: another's after a rebalance.
    """

    records: Sequence[Record]
    ends: Mapping[TopicPartition, int]
    places: dict[TopicPartition, int]


class Reader:
    """Reads by a consumer that is a member of a group.

    ``since`` says for each topic from when on partitions are read that the group knows nothing
    of, in milliseconds since 1970 or None for now; without it they are read from their beginning.
    ``unreadable`` has the partitions that are stuck, and the offset up to which they were read.
    """

    def __init__(self, consumer: AIOKafkaConsumer, since: Mapping[str, int | None] | None) -> None:
        self._consumer = consumer
        self._since = since
        self._places: dict[TopicPartition, int] = {}
        self.unreadable: dict[TopicPartition, int] = {}

    def forget(self) -> None:
        """Begin anew, where the group has committed last: partitions come and go."""
        self._places = {}
        self.unreadable = {}

    async def read(self) -> Fetched | None:
        """Return what there is, or None where there was nothing for a second.

        Raises `KafkaError`: `IllegalStateError` where a partition has just been taken away.
        """
        try:
            found = await self._consumer.getmany(timeout_ms=_WAIT_MS, max_records=_MOST)
        except UnicodeDecodeError:
            found = None
        new = self._consumer.assignment() - self._places.keys()
        if new:
            await self._begin(new)
            return None
        if found is None:
            self._rewind()
            found = await self._carefully()
        return self._fetched(found)

    async def emitted(self, fetched: Fetched) -> None:
        """Commit what has been emitted, unless there was a rebalance meanwhile.

        Raises `KafkaError`: `CommitFailedError` where the partitions are another's by now.
        """
        if fetched.places is self._places:
            self._places.update(fetched.ends)
            await commit(self._consumer, fetched.ends)

    def _fetched(self, found: Mapping[TopicPartition, Sequence[Any]]) -> Fetched | None:
        records = [_record(each) for here in found.values() for each in here]
        if not records:
            return None
        ends = {partition: here[-1].offset + 1 for partition, here in found.items() if here}
        return Fetched(records=records, ends=ends, places=self._places)

    # --- where it begins -------------------------------------------------------------------

    async def _begin(self, new: Collection[TopicPartition]) -> None:
        """Read these partitions too, and all others again from where they were.

        Where nothing is committed yet, the beginning is: what comes after it is not to be passed
        over if this process ends before it has emitted anything.
        """
        places = self._places
        starts: dict[TopicPartition, int] = {}
        unknown: dict[TopicPartition, int] = {}
        for each in new:
            offset = await self._consumer.committed(each)
            if offset is None:
                offset = unknown[each] = await self._first(each)
            starts[each] = offset
        if places is not self._places:
            return
        if unknown:
            await commit(self._consumer, unknown)
        if places is self._places:
            self._consumer.resume(*new)  # what was unreadable is tried again
            places.update(starts)
            self._rewind()

    async def _first(self, partition: TopicPartition) -> int:
        if self._since is None:
            beginnings = await self._consumer.beginning_offsets([partition])
            return int(beginnings[partition])
        since = self._since[partition.topic]
        if since is not None:
            found = (await self._consumer.offsets_for_times({partition: since}))[partition]
            if found is not None:
                return int(found.offset)
        ends = await self._consumer.end_offsets([partition])
        return int(ends[partition])

    def _rewind(self) -> None:
        for partition, offset in self._places.items():
            self._consumer.seek(partition, offset)

    # --- what aiokafka cannot read ---------------------------------------------------------

    async def _carefully(self) -> Mapping[TopicPartition, Sequence[Any]]:
        """Read one record at a time, and stop at those that cannot be read."""
        places, unreadable = self._places, self.unreadable
        found: dict[TopicPartition, list[Any]] = {}
        for partition in sorted(places.keys() - unreadable.keys()):
            here = found[partition] = []
            try:
                while len(here) < _MOST:
                    one = await self._consumer.getmany(
                        partition, timeout_ms=_WAIT_MS, max_records=1
                    )
                    if places is not self._places:
                        return {}
                    if not one:
                        break
                    here += one[partition]
            except UnicodeDecodeError:
                if places is not self._places:
                    return {}
                offset = here[-1].offset + 1 if here else places[partition]
                unreadable[partition] = offset
                self._consumer.pause(partition)
                self._consumer.seek(partition, offset)
        return found


def _record(record: Any) -> Record:  # noqa: ANN401 - aiokafka has no types
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )
