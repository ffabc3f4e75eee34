"""Offsets of a group that nobody is in, which tell what waits while no dispatcher runs.

The dispatchers' own group says how far they are behind, which more of them would do sooner. This
one stands before all that is not done, whatever it waits for: it is what says whether there has
to be a dispatcher at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest

from broker.channels.kafka.connecting import open_client, said
from broker.channels.kafka.holding import Holding
from broker.channels.kafka.settings import ClientOptions
from broker.errors import ChannelUnavailable

_log: Final = logging.getLogger("cemesh.channel")

_TELLS_EVERY: Final = timedelta(seconds=3)
_ALL_EVERY: Final = timedelta(hours=1)
"""Kafka forgets within days what a group without members has not been told again."""

_PATIENCE: Final = timedelta(seconds=10)
_CLOSED_WITHIN: Final = 1.0
_NO_MEMBER: Final = ""


def group_of(dispatchers: str) -> str:
    """Return the name of the group, beside that of the dispatchers."""
    return f"{dispatchers}/undone"


async def tell_what_is_undone(holding: Holding, options: ClientOptions, group: str) -> None:
    """Let the offsets of the group stand before whatever a subscribed trigger still needs.

    That is so in the topic of events, also for triggers that do not keep up, and in the topics of
    delays. They may be lower than that when a dispatcher has just ended, and never higher.
    """
    told: dict[TopicPartition, int] = {}
    all_told = time.monotonic()
    teller = _Teller(options, group)
    try:
        while True:
            await asyncio.sleep(_TELLS_EVERY.total_seconds())
            if time.monotonic() - all_told > _ALL_EVERY.total_seconds():
                told, all_told = {}, time.monotonic()
            undone = {
                position: partition.undone()
                for share in holding.shares()
                for position, partition in share.partitions.items()
            }
            news = {each: at for each, at in undone.items() if told.get(each) != at}
            if news and await holding.flush() and await teller.tell(news):
                told = {each: at for each, at in told.items() if each in undone} | news
    finally:
        await teller.close()


class _Teller:
    """Commits for a group, by requests of no member, on a connection that is opened if need be."""

    def __init__(self, options: ClientOptions, group: str) -> None:
        self._options = options
        self._group = group
        self._client: AIOKafkaClient | None = None
        self._coordinator: int | None = None

    async def tell(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Return whether the group stands there now."""
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                await self._commit(offsets)
        except (ChannelUnavailable, KafkaError, OSError, TimeoutError) as error:
            _log.debug("not committed", extra={"group": self._group, "why": said(error)})
            await self.close()  # the coordinator may be another by now
            return False
        return True

    async def close(self) -> None:
        client, self._client, self._coordinator = self._client, None, None
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSED_WITHIN):
                    await client.close()

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._client is None:
            self._client = await open_client(self._options, answers_within=_PATIENCE)
        if self._coordinator is None:
            self._coordinator = await self._client.coordinator_lookup(
                CoordinationType.GROUP, self._group
            )
        topics: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for position, offset in offsets.items():
            topics[position.topic].append((position.partition, offset, ""))
        request = OffsetCommitRequest(
            self._group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            _NO_MEMBER,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [*topics.items()],
        )
        answer = await self._client.send(self._coordinator, request)
        for topic, partitions in answer.topics:
            for _, code in partitions:
                error = for_code(code)
                if error is not NoError:
                    raise error(topic)
