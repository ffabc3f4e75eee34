"""Producing: appends that come while others are on their way go out together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self

from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from broker.channels.kafka.connecting import (
    ANSWER_WITHIN,
    at,
    check_reachable,
    said,
    who,
)
from broker.channels.kafka.lanes import Append, Batch, Lane, Topic, size_of
from broker.channels.kafka.producers import Producers
from broker.channels.kafka.settings import ClientOptions
from broker.codecs.kafka import Record
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable, TooLarge

MAX_PENDING_RECORDS: Final = 100_000
MAX_PENDING_BYTES: Final = 64 << 20
"""What may wait to be stored; beyond, an append is refused."""

_GIVEN_UP_AFTER: Final = ANSWER_WITHIN.total_seconds()
_DOUBTED_AFTER: Final = 3.0
_PROBED_WITHIN: Final = timedelta(seconds=1)
_LOOKS_EVERY: Final = 0.25

_APART: Final = 0.002
"""Seconds between two requests: what comes meanwhile goes out together.

A request takes 0.3 ms of our processor, and more of Kafka's, for one record or for twenty.
"""


class Producing:
    """Stores records in the topics of one cluster while entered; heals by itself.

    Entering takes one attempt to connect and does not raise: `check` tells how it went.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._topics: dict[str, Topic] = {}
        self._pending_records = 0
        self._pending_bytes = 0
        self._appends: deque[Append] = deque()
        self._ready: dict[Lane, None] = {}
        self._to_send = asyncio.Event()
        self._sent: dict[Lane, None] = {}
        self._producers = Producers(
            options, topics=self._topics, on_opened=self._opened, on_outage=self._fail_all
        )
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as running:
            running.push_async_callback(self._producers.close)
            group = await running.enter_async_context(asyncio.TaskGroup())
            for work in (self._send(), self._producers.run(group), self._watch()):
                running.callback(group.create_task(work).cancel)
            running.callback(self._fail_all, ChannelUnavailable("the mesh is shutting down"))
            await self._producers.tried.wait()
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()  # the task group would wrap what was raised in the context

    async def append(
        self, topic: str, records: Sequence[Record], *, partition: int | None = None
    ) -> None:
        """Return once all the records are durable: acknowledged by all replicas in sync.

        They go to the ``partition``, where one is given. Or else records with a key go to the
        partition that Java's producers choose, the others all to one. Those that share a
        partition are stored all or none, if they fit into a batch of 256 KiB. Where it raises,
        those of other partitions and batches may be stored, and after `ChannelUnavailable` any
        may: it is not known what became of a batch that was not answered. So repeat the call;
        every event is then stored at least once.

        Raises `ChannelFull` and, within 5 s, `ChannelUnavailable`, or `TooLarge` where a record
        is larger than the topic takes, so that repeating it is of no use.
        """
        await self.submit(topic, records, partition=partition)

    def submit(
        self, topic: str, records: Sequence[Record], *, partition: int | None = None
    ) -> asyncio.Future[None]:
        """Do what `append` does, from now on. What that raises, this or the future does."""
        loop = asyncio.get_running_loop()
        if not records:
            nothing: asyncio.Future[None] = loop.create_future()
            nothing.set_result(None)
            return nothing
        self.check()
        size = size_of(records[0]) if len(records) == 1 else sum(map(size_of, records))
        self._admit(len(records), size)
        self._pending_records += len(records)
        self._pending_bytes += size
        since = loop.time()
        found = self._topics.get(topic)
        if found is None:
            stored: asyncio.Future[None] = loop.create_task(
                self._append_first(topic, records, size, partition, since)
            )
        else:
            append = Append(loop.create_future(), topic, since)
            self._appends.append(append)
            self._put(append, found, records, size, partition)
            stored = append.durable
        stored.add_done_callback(partial(self._forget, len(records), size))
        return stored

    async def _append_first(
        self, name: str, records: Sequence[Record], size: int, partition: int | None, since: float
    ) -> None:
        """Append to a topic that is not known yet."""
        topic = await self._find(name)
        append = Append(asyncio.get_running_loop().create_future(), name, since)
        self._appends.appendleft(append)  # the oldest are first, and this has taken a while
        self._put(append, topic, records, size, partition)
        await append.durable

    def _put(
        self,
        append: Append,
        topic: Topic,
        records: Sequence[Record],
        size: int,
        partition: int | None,
    ) -> None:
        for lane in topic.spread(append, records, size, partition):
            if lane.sent is None and lane not in self._ready:
                self._let_go(lane)

    def _forget(self, records: int, size: int, _: object) -> None:
        """Make room for others: these do not wait any more."""
        self._pending_records -= records
        self._pending_bytes -= size

    @property
    def is_out(self) -> bool:
        """Whether Kafka is known not to be reachable, of which was told."""
        return self._producers.outage is not None

    def check(self) -> None:
        """Raise `ChannelUnavailable` if Kafka is known not to be reachable."""
        outage = self._producers.outage
        if outage is not None:
            raise ChannelUnavailable(str(outage), retry_after=outage.retry_after)

    def _admit(self, records: int, size: int) -> None:
        if self._pending_records and (
            self._pending_records + records > MAX_PENDING_RECORDS
            or self._pending_bytes + size > MAX_PENDING_BYTES
        ):
            raise ChannelFull(
                f"{self._pending_records:,} events ({self._pending_bytes >> 20} MiB) are waiting "
                f"to be stored in {at(self._options)}, which does not keep up"
            )

    async def _find(self, name: str) -> Topic:
        """Return the topic once Kafka tells its partitions. Raises `ChannelUnavailable`."""
        try:
            async with asyncio.timeout(_GIVEN_UP_AFTER + _LOOKS_EVERY):
                await self._producers.opened.wait()
                partitions = await self._producers.current.partitions_for(name)
        except TimeoutError as error:
            self.check()
            raise self._late(name) from error
        except UnknownTopicOrPartitionError as error:
            raise ChannelUnavailable(f"{at(self._options)} has no topic '{name}'") from error
        except KafkaError as error:
            raise self._refusal(name, error) from error
        topic = self._topics.get(name)
        if topic is None:
            topic = Topic(name)
            topic.learn(len(partitions), sorted(partitions))
            self._topics[name] = topic
        return topic

    # --- what goes out -------------------------------------------------------------------

    async def _send(self) -> None:
        clock = asyncio.get_running_loop().time
        earliest = 0.0
        while True:
            await self._to_send.wait()
            await self._producers.opened.wait()  # more gathers meanwhile
            early = earliest - clock()
            if early > 0:
                await asyncio.sleep(early)
            earliest = clock() + _APART
            self._to_send.clear()
            lanes, self._ready = self._ready, {}
            for lane in lanes:
                if self._producers.current is None:  # as of the batch before
                    self._let_go(lane)
                elif lane.topic.known:
                    await self._send_batch(lane, self._producers.current)

    async def _send_batch(self, lane: Lane, producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        builder = producer.create_batch()
        parts = lane.fill(builder)
        if not parts:
            return
        batch = Batch(parts=parts, producer=producer, since=asyncio.get_running_loop().time())
        lane.sent = batch
        self._sent[lane] = None
        try:
            async with asyncio.timeout(_GIVEN_UP_AFTER):
                answer = await producer.send_batch(
                    builder, lane.topic.name, partition=lane.partition
                )
        except (KafkaError, TimeoutError, AssertionError) as error:  # the last: no such partition
            self._settle(lane, batch, error)
        else:
            answer.add_done_callback(partial(self._answered, lane, batch))

    def _answered(self, lane: Lane, batch: Batch, answer: asyncio.Future[object]) -> None:
        self._settle(lane, batch, answer.exception())

    def _settle(self, lane: Lane, batch: Batch, error: BaseException | None) -> None:
        """Tell those who wait for the batch how it ended, and let the next one go."""
        if lane.sent is not batch:
            return  # it was given up
        lane.sent = None
        self._sent.pop(lane, None)
        if error is None:
            for part in batch.parts:
                part.append.part_stored()
        else:
            if isinstance(error, MessageSizeTooLargeError) and batch.records > 1:
                lane.divide(batch)
            else:
                refusal = self._refusal(lane.topic.name, error, batch.size)
                for part in batch.parts:
                    part.append.fail(refusal)
            self._producers.give_up(batch.producer)
        if lane.waiting:
            self._let_go(lane)

    def _let_go(self, lane: Lane) -> None:
        self._ready[lane] = None
        self._to_send.set()

    def _refusal(self, topic: str, error: BaseException, size: int = 0) -> CemeshError:
        if isinstance(error, MessageSizeTooLargeError):
            return TooLarge(
                f"the event takes about {size:,} bytes in Kafka, more than the topic '{topic}' "
                "takes (max.message.bytes)"
            )
        if isinstance(error, TopicAuthorizationFailedError):
            return ChannelUnavailable(
                f"{at(self._options)} does not let {who(self._options)} write to the topic "
                f"'{topic}': it takes an ACL that allows Describe and Write"
            )
        if isinstance(error, TimeoutError):
            return self._late(topic)
        return ChannelUnavailable(
            f"{at(self._options)} has not stored events in the topic '{topic}': {said(error)}"
        )

    # --- what is known of Kafka ------------------------------------------------------------

    def _fail_all(self, error: ChannelUnavailable) -> None:
        while self._appends:
            self._appends.popleft().fail(error)
        for topic in self._topics.values():
            for lane in topic.lanes:
                lane.waiting.clear()
                lane.sent = None
        self._sent.clear()
        self._ready.clear()

    def _opened(self, producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        producer.client.cluster.add_listener(self._learn)
        self._learn(producer.client.cluster)

    def _learn(self, cluster: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Note the partitions that Kafka tells of now."""
        producer = self._producers.current
        if producer is None or cluster is not producer.client.cluster:
            return
        for topic in self._topics.values():
            partitions = cluster.partitions_for_topic(topic.name) or ()
            led = cluster.available_partitions_for_topic(topic.name) or ()
            was_known = topic.known
            topic.learn(len(partitions), sorted(led))
            if topic.known and not was_known:
                for lane in topic.lanes:
                    if lane.waiting and lane.sent is None:
                        self._let_go(lane)

    # --- what takes too long ---------------------------------------------------------------

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            overdue = loop.time() - _GIVEN_UP_AFTER
            while self._appends and (
                self._appends[0].durable.done() or self._appends[0].since < overdue
            ):
                append = self._appends.popleft()
                if not append.durable.done():
                    append.fail(self._late(append.topic))
            doubted = loop.time() - _DOUBTED_AFTER
            late = [lane for lane in self._sent if lane.sent and lane.sent.since < doubted]
            if late:
                await self._doubt(late)
            producer = self._producers.current
            if producer is not None and not all(each.known for each in self._topics.values()):
                producer.client.force_metadata_update()

    async def _doubt(self, late: Sequence[Lane]) -> None:
        """Find out why these batches are not answered, and give up all of them."""
        batches = [(lane, lane.sent) for lane in late]
        try:
            await check_reachable(self._options, within=_PROBED_WITHIN)
        except ChannelUnavailable as error:
            # First, so that what is refused then is not stored should Kafka be back at once.
            await self._producers.abandon()
            self._producers.missed(error)
            return
        for lane, batch in batches:
            if batch is not None and lane.sent is batch:
                self._settle(lane, batch, TimeoutError())

    def _late(self, topic: str) -> ChannelUnavailable:
        found = self._topics.get(topic)
        if found is not None and not found.known:
            return ChannelUnavailable(f"{at(self._options)} has no topic '{topic}' any more")
        return ChannelUnavailable(
            f"{at(self._options)} has not stored events in the topic '{topic}' within "
            f"{_GIVEN_UP_AFTER:.0f} s: too few replicas may be in sync, or it does not keep up"
        )
