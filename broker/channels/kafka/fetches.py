"""Fetches from all leaders of some partitions, one under way at each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from broker.channels.kafka.sessions import Fetched, FetchSession, Wanted

_APART: Final = 0.004
"""Seconds between two fetches from a leader: what comes meanwhile comes together.

A fetch takes 0.3 ms of our processor, and about as much of Kafka's, for one record or for twenty.
"""

_LOOKS_EVERY: Final = 0.2
_CLOSED_WITHIN: Final = 1.0

Found = Mapping[TopicPartition, Fetched]


class Fetches:
    """By one client, which has been started, and is closed by `close`.

    ``on_news`` is called whenever `take` may return something, or `ask` may do more than before.
    """

    def __init__(
        self, client: AIOKafkaClient, *, partition_bytes: int, on_news: Callable[[], None]
    ) -> None:
        self._client = client
        self._partition_bytes = partition_bytes
        self._on_news = on_news
        self._sessions: dict[int, FetchSession] = {}
        self._under_way: dict[int, asyncio.Task[Found]] = {}
        self._earliest: dict[int, float] = {}
        self._leaders: dict[TopicPartition, int] = {}
        self._unfit: set[int] = set()  # of which it is to be learned who leads what they led
        self._learning: asyncio.Task[None] | None = None
        client.cluster.add_listener(self._learned)

    def of(self, partitions: Iterable[TopicPartition]) -> None:
        """Know who leads these partitions from now on."""
        topics = {each.topic for each in partitions}
        if topics:
            self._client.set_topics(topics)

    def ask(self, wanted: Wanted, wait: timedelta) -> None:
        """Ask every leader that is not being asked already, which may wait so long for news."""
        by_leader: dict[int, dict[TopicPartition, int]] = {}
        for partition, offset in wanted.items():
            leader = self._leader(partition)
            if leader is None:
                self._learn()
            elif leader not in self._under_way and leader not in self._unfit:
                by_leader.setdefault(leader, {})[partition] = offset
        for leader, mine in by_leader.items():
            task = asyncio.create_task(self._fetch(leader, mine, wait))
            self._under_way[leader] = task
            task.add_done_callback(lambda _: self._on_news())

    async def _fetch(self, leader: int, wanted: Wanted, wait: timedelta) -> Found:
        clock = asyncio.get_running_loop().time
        early = self._earliest.get(leader, 0) - clock()
        if early > 0:
            await asyncio.sleep(early)
        session = self._sessions.get(leader)
        if session is None:
            session = self._sessions[leader] = FetchSession(
                self._client, leader, partition_bytes=self._partition_bytes
            )
        self._earliest[leader] = clock() + _APART
        return await session.fetch(wanted, wait)

    def take(self) -> Found:
        """Return what has been found since the last time. Raises `KafkaError`.

        It does so for what will not pass by itself. All else is tried again, as `ask` is.
        """
        found: dict[TopicPartition, Fetched] = {}
        for leader, task in list(self._under_way.items()):
            if not task.done():
                continue
            del self._under_way[leader]
            try:
                here = task.result()
            except IncompatibleBrokerVersion:
                raise
            except KafkaError:
                self._doubt(leader)
                continue
            found.update(here)
            if any(each.error is not None for each in here.values()):
                self._doubt(leader)
        return found

    async def close(self) -> None:
        """Close the connections, without waiting for answers."""
        tasks: list[asyncio.Task[Any]] = [*self._under_way.values()]
        if self._learning is not None:
            tasks.append(self._learning)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # of which nobody wants to know
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSED_WITHIN):
                await self._client.close()

    # --- who leads what --------------------------------------------------------------------

    def _leader(self, partition: TopicPartition) -> int | None:
        leader = self._leaders.get(partition)
        if leader is None:
            leader = self._client.cluster.leader_for_partition(partition)
            if leader is None or leader < 0:
                return None
            self._leaders[partition] = leader
        return leader

    def _learned(self, _: object) -> None:
        self._leaders.clear()
        self._on_news()

    def _doubt(self, leader: int) -> None:
        """Ask it for nothing before it is known anew what it leads."""
        self._unfit.add(leader)
        self._learn()

    def _learn(self) -> None:
        if self._learning is None:
            self._learning = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            if not await self._client.force_metadata_update():
                with suppress(KafkaError):  # all servers may be others by now
                    await self._client.bootstrap()
            await asyncio.sleep(_LOOKS_EVERY)
        finally:
            self._learning = None
        self._unfit.clear()
        self._on_news()
