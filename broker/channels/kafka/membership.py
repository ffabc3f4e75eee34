"""Being a member of the group that shares the partitions of a topic.

The group only says who has which partition. What is read is read by other consumers, so that
partitions that stay where they are go on while the group comes to an agreement.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from broker.channels.kafka.compacted import close_consumer
from broker.channels.kafka.connecting import at, said, start, who
from broker.channels.kafka.settings import ClientOptions
from broker.channels.kafka.sharing import Assignor
from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable

_log: Final = logging.getLogger("cemesh.channel")

_SESSION: Final = timedelta(seconds=10)
"""After how long the others take over what a member has that is not heard of any more."""

_HEARTBEAT: Final = timedelta(seconds=2)
_REJOIN_WITHIN: Final = timedelta(seconds=10)
_NEW_PARTITIONS_EVERY: Final = timedelta(seconds=30)
_TRIES_EVERY: Final = 1.0
_POLL_MS: Final = 1_000
_MOST_COMMITS: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the group has agreed on. ``generation`` grows with every agreement."""

    generation: int
    partitions: frozenset[int]


class Membership:
    """Joins the group while `run` runs, and again after a fault.

    ``held`` returns the partitions that this process holds, which it keeps if possible;
    ``on_assigned`` is told what it gets.
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        group: str,
        topic: str,
        held: Callable[[], Collection[int]],
        on_assigned: Callable[[Assignment], None],
    ) -> None:
        self._options = options
        self._group = group
        self._topic = topic
        self._assignor = Assignor(topic, held)
        self._on_assigned = on_assigned
        self._consumer: AIOKafkaConsumer | None = None
        self._trouble = Trouble()
        self._committing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Be a member until cancelled; then leave the group."""
        try:
            while True:
                try:
                    await self._take_part()
                except (KafkaError, OSError) as error:
                    self._trouble.met("not in the group", ChannelUnavailable(self._why(error)))
                await self._leave()
                await asyncio.sleep(_TRIES_EVERY)
        finally:
            await self._leave()

    async def commit(self, offsets: Any) -> None:  # noqa: ANN401 - a mapping of TopicPartition
        """Let the group remember these offsets, if it can: for the eyes of others only."""
        consumer = self._consumer
        if consumer is None or not offsets or self._committing is not None:
            return
        mine = consumer.assignment()
        offsets = {each: at for each, at in offsets.items() if each in mine}
        committing = self._committing = asyncio.create_task(self._commit(consumer, offsets))
        # It is not cancelled: aiokafka would let it go on, and nobody would see how it ends.
        committing.add_done_callback(self._committed)
        await asyncio.wait([committing], timeout=_MOST_COMMITS.total_seconds())

    def _committed(self, _: asyncio.Task[None]) -> None:
        self._committing = None

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        try:
            await consumer.commit(offsets)
        except (KafkaError, ValueError) as error:
            _log.debug("not committed", extra={"group": self._group, "why": said(error)})

    async def _take_part(self) -> None:
        consumer = self._consumer = AIOKafkaConsumer(
            **self._options,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            partition_assignment_strategy=(self._assignor,),
            session_timeout_ms=_milliseconds(_SESSION),
            heartbeat_interval_ms=_milliseconds(_HEARTBEAT),
            rebalance_timeout_ms=_milliseconds(_REJOIN_WITHIN),
            metadata_max_age_ms=_milliseconds(_NEW_PARTITIONS_EVERY),
        )
        consumer.subscribe([self._topic], listener=_Listener(consumer, self._on_assigned))
        await start(consumer)
        while True:
            # Every partition is paused: this tells the group that the process lives, and here
            # what is wrong with the group.
            await consumer.getmany(timeout_ms=_POLL_MS)

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await close_consumer(consumer)
        committing = self._committing
        if committing is not None:  # by a connection that is closed now
            committing.cancel()
            await asyncio.wait([committing])

    def _why(self, error: BaseException) -> str:
        if isinstance(error, GroupAuthorizationFailedError):
            return (
                f"{at(self._options)} does not let {who(self._options)} join the group "
                f"'{self._group}': it takes an ACL that allows Read on it"
            )
        return f"{at(self._options)}: {said(error)}"


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(
        self, consumer: AIOKafkaConsumer, on_assigned: Callable[[Assignment], None]
    ) -> None:
        self._consumer = consumer
        self._on_assigned = on_assigned

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Most of them come back at once: `on_partitions_assigned` tells which do not."""

    async def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        self._consumer.pause(*assigned)
        self._on_assigned(
            Assignment(
                generation=self._consumer._coordinator.generation,
                partitions=frozenset(each.partition for each in assigned),
            )
        )


def _milliseconds(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)
