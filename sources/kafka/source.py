"""Reads topics as a member of a consumer group, and emits what they have."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from broker.connections.kafka import ANSWERS_WITHIN, client_options, why_unreachable
from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, Json, SourceContext
from sources.kafka.connecting import close, said, start
from sources.kafka.reading import Fetched, Reader
from sources.kafka.records import Record, event_of
from sources.kafka.spec import KafkaSpec

_log: Final = logging.getLogger("cemesh.sources.kafka")

_JOINS_WITHIN: Final = 60.0
_TELLS_AFTER: Final = 5.0
_REBALANCES_WITHIN: Final = timedelta(seconds=30)
_FINISHES_WITHIN: Final = 20.0
"""Seconds for which a rebalance waits for what is being emitted. Later, it comes again."""

_NEW_PARTITIONS_EVERY: Final = timedelta(seconds=30)
_LOOKS_EVERY: Final = 3.0


class KafkaSource:
    """Emits the records of the partitions that its consumer group gives to this process.

    Offsets are committed once the events before them are durable: what was emitted and not yet
    committed comes again after a crash or a rebalance, with the same id.
    """

    Spec: ClassVar = KafkaSpec
    api_versions: ClassVar = ("sources.knative.dev/v1", "sources.knative.dev/v1beta1")

    def __init__(self, spec: KafkaSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._group = spec.group(context.namespace, context.name)
        self._passing_on = asyncio.Lock()
        self._in_flight = 0

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where Kafka does not let us read."""
        since = await self._first_runs() if self._spec.initial_offset == "latest" else None
        options = await asyncio.to_thread(client_options, self._spec.net)
        why = await why_unreachable(self._spec.bootstrap_servers, options)
        if why is not None:
            raise UpstreamUnavailable(why)
        consumer = self._consumer(options)
        reader = Reader(consumer, since)
        try:
            consumer.subscribe(self._spec.topics, listener=_Listener(reader, self._passing_on))
            await self._join(consumer)
            watching = asyncio.create_task(self._watch(consumer, reader, options))
            try:
                while not watching.done():
                    await self._round(reader, emit)
                watching.result()
            finally:
                watching.cancel()
                await asyncio.wait([watching])
        except KafkaError as error:
            raise UpstreamUnavailable(f"{self._kafka}: {said(error)}") from error
        finally:
            await close(consumer)

    @property
    def _kafka(self) -> str:
        return f"Kafka at {', '.join(self._spec.bootstrap_servers)}"

    async def _first_runs(self) -> Mapping[str, int | None]:
        """Return for each topic when it was first read, in milliseconds since 1970.

        None is for now. A partition that is added to a topic later is read from then on.
        """
        stored: Mapping[str, int] = await self._context.load() or {}
        now = time.time_ns() // 1_000_000
        keys = {topic: f"{self._group} {topic}" for topic in self._spec.topics}
        wanted: dict[str, Json] = {key: stored.get(key, now) for key in keys.values()}
        if wanted != stored:
            await self._context.save(wanted)
        return {topic: stored.get(key) for topic, key in keys.items()}

    def _consumer(self, options: Mapping[str, Any]) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **options,
            bootstrap_servers=self._spec.bootstrap_servers,
            group_id=self._group,
            enable_auto_commit=False,
            # Of offsets that Kafka has deleted meanwhile: all that there still is. Where to
            # begin is the reader's to say.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            rebalance_timeout_ms=_REBALANCES_WITHIN // timedelta(milliseconds=1),
            metadata_max_age_ms=_NEW_PARTITIONS_EVERY // timedelta(milliseconds=1),
        )

    async def _join(self, consumer: AIOKafkaConsumer) -> None:
        why = (
            f"{self._kafka} gives no partitions of {', '.join(self._spec.topics)} to the group "
            f"'{self._group}' yet; are the topics there?"
        )
        late = asyncio.get_running_loop().call_later(_TELLS_AFTER, self._context.unhealthy, why)
        try:
            async with asyncio.timeout(_JOINS_WITHIN):
                await start(consumer)
        except (KafkaError, TimeoutError) as error:
            raise UpstreamUnavailable(f"{why} {said(error)}") from error
        finally:
            late.cancel()
        self._context.healthy()

    # --- what is read ----------------------------------------------------------------------

    async def _round(self, reader: Reader, emit: Emitter) -> None:
        try:
            fetched = await reader.read()
            if fetched is not None:
                async with self._passing_on:
                    await self._pass_on(fetched, emit)
                    await reader.emitted(fetched)
        except (CommitFailedError, IllegalStateError) as error:
            # A partition is another's by now, who begins where was committed last.
            _log.info("rebalanced", extra={"why": said(error)})
            reader.forget()

    async def _pass_on(self, fetched: Fetched, emit: Emitter) -> None:
        self._in_flight = len(fetched.records)
        try:
            events: list[tuple[Record, Event]] = []
            for record in fetched.records:
                try:
                    events.append((record, event_of(record, self._context.uri)))
                except InvalidEvent as error:
                    await self._reject(record, error)
            await pass_on(events, emit, self._reject)
        finally:
            self._in_flight = 0

    async def _reject(self, record: Record, error: InvalidEvent) -> None:
        why = (
            f"the record of topic {record.topic}, partition {record.partition}, "
            f"offset {record.offset}: {error}"
        )
        await self._context.reject(why, id=f"{record.topic}/{record.id}", data=record.value)

    # --- what operators are told -----------------------------------------------------------

    async def _watch(
        self, consumer: AIOKafkaConsumer, reader: Reader, options: Mapping[str, Any]
    ) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            try:
                async with asyncio.timeout(ANSWERS_WITHIN.total_seconds()):
                    lag = await _lag(consumer, self._spec.topics[0])
            except IllegalStateError:  # the group comes to an agreement just now
                continue
            except (KafkaError, OSError, TimeoutError) as error:
                why = await why_unreachable(self._spec.bootstrap_servers, options)
                self._context.unhealthy(why or f"{self._kafka}: {said(error)}")
            else:
                self._context.lag(lag + self._in_flight)
                if reader.unreadable:
                    self._context.unhealthy(self._unreadable(reader))
                else:
                    self._context.healthy()

    def _unreadable(self, reader: Reader) -> str:
        places = "; ".join(
            f"topic {each.topic}, partition {each.partition}, at or just after offset {offset}"
            for each, offset in sorted(reader.unreadable.items())
        )
        return (
            f"{self._kafka} has a record with a header whose name is not UTF-8, which cannot be "
            f"read: {places}; of that partition nothing is read until the group '{self._group}' "
            "is set past it, by kafka-consumer-groups.sh --reset-offsets, while the mesh is stopped"
        )


async def _lag(consumer: AIOKafkaConsumer, topic: str) -> int:
    """Return how many records are still to be read; raises where Kafka does not answer."""
    mine = consumer.assignment()
    ends = await consumer.end_offsets(list(mine) or [TopicPartition(topic, 0)])
    return sum([max(0, ends[each] - await consumer.position(each)) for each in mine])


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Lets what is being emitted end, and be committed, before partitions are given away."""

    def __init__(self, reader: Reader, passing_on: asyncio.Lock) -> None:
        self._reader = reader
        self._passing_on = passing_on

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINISHES_WITHIN), self._passing_on:
                pass
        self._reader.forget()

    async def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        self._reader.forget()
