"""Producing for a sink: what comes at the same time goes out together, by one producer.

aiokafka numbers the batches of a partition, for Kafka to tell repetitions, and does not take back
the number of one that failed, so that Kafka refuses all that come after it; nor does it ever give
up one that is not answered. So a producer that has failed is replaced, and what fails only because
of another's failure is sent again at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    TopicAuthorizationFailedError,
    UnknownProducerId,
    UnknownTopicOrPartitionError,
)

from broker.codecs.kafka import Record
from broker.connections.kafka import (
    ANSWERS_WITHIN,
    client_options,
    close_producer,
    ended,
    said,
    why_unreachable,
)
from broker.connections.sharing import SharedOpening
from broker.manifest.specs import revealed
from broker.ports import Accepted, Answer, Refused
from sinks.kafka.spec import KafkaSinkSpec
from sinks.kafka.topic import ensure_topic

_BATCH_BYTES: Final = 16 << 10
_LARGEST: Final = 1 << 30
"""What the client refuses by itself, in bytes: nothing, as the topic has a bound of its own."""

_TRIES: Final = 5
_STARTS_WITHIN: Final = 2.0
_LEAVES_WITHIN: Final = timedelta(seconds=1)

_ANOTHERS_FAULT: Final = (
    OutOfOrderSequenceNumber,
    UnknownProducerId,
    InvalidProducerEpoch,
    ProducerClosed,
    ProducerFenced,
)
"""What a record is refused for since the producer failed with one that came before it."""


class UnavailableError(Exception):
    """Kafka cannot be produced to, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Producer:
    """A producer that has started, of many records in a batch or of one."""

    client: Any
    together: bool


class Producing:
    """Stores records in the topic of a sink; connects when there is something to store."""

    def __init__(self, spec: KafkaSinkSpec) -> None:
        self._spec = spec
        self._current: _Producer | None = None
        self._opening = SharedOpening(self._open)
        self._closing: set[asyncio.Task[None]] = set()
        self._together = True

    async def store(self, record: Record) -> Answer:
        """Return once all replicas in sync have the record, or why they do not, within 4 s.

        And within twice that where it takes a connection first.
        """
        for _ in range(_TRIES):
            try:
                producer = await self._opened()
            except UnavailableError as error:
                return Refused(reason=str(error))
            try:
                async with asyncio.timeout(ANSWERS_WITHIN.total_seconds()):
                    await self._send(producer, record)
            except MessageSizeTooLargeError:
                if not producer.together or _size(record) > _BATCH_BYTES:
                    self._give_up(producer)
                    return Refused(reason=self._too_large(record), permanent=True)
                # A batch was refused, and nobody says which record of it is too large. A topic
                # that does not take a whole batch is better served without.
                self._together = False
                self._give_up(producer)
            except _ANOTHERS_FAULT:
                self._give_up(producer)
            except TimeoutError:
                self._give_up(producer, grace=timedelta(0))
                return Refused(reason=self._late())
            except asyncio.CancelledError:
                # The trigger has less time: the same as above, and nobody would notice later.
                self._give_up(producer)
                raise
            except (KafkaError, OSError) as error:
                self._give_up(producer)
                return Refused(reason=self._said(error))
            else:
                return Accepted()
        return Refused(reason=f"{self._spec.kafka} refuses others of the topic again and again")

    async def close(self) -> None:
        """Close all connections. What is on its way is given a second to arrive."""
        await self._opening.close()
        if self._current is not None:
            self._give_up(self._current, grace=_LEAVES_WITHIN)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _send(self, producer: _Producer, record: Record) -> None:
        stored = await producer.client.send(
            self._spec.topic, record.value, key=record.key, headers=record.headers
        )
        await stored

    # --- the producer ----------------------------------------------------------------------

    async def _opened(self) -> _Producer:
        """Return the producer that all share. Raises `UnavailableError`."""
        if self._current is not None:
            return self._current
        return await self._opening.opened()

    async def _open(self) -> _Producer:
        together = self._together
        options = await asyncio.to_thread(client_options, self._spec.access)
        servers = self._spec.bootstrap_servers
        why = await why_unreachable(servers, options, self._spec.told)
        if why is not None:
            raise UnavailableError(why)
        client = AIOKafkaProducer(
            **options,
            bootstrap_servers=servers,
            acks="all",
            enable_idempotence=True,
            # Of one byte, it takes one record, however large.
            max_batch_size=_BATCH_BYTES if together else 1,
            max_request_size=_LARGEST,
            request_timeout_ms=ANSWERS_WITHIN // timedelta(milliseconds=1),
        )
        try:
            async with asyncio.timeout(ANSWERS_WITHIN.total_seconds()):
                await ended(client.start(), grace=_STARTS_WITHIN)
                await ensure_topic(client.client, self._spec)
        except (KafkaError, OSError) as error:
            await _close(client, grace=timedelta(0))
            raise UnavailableError(self._said(error)) from error
        except BaseException:
            await _close(client, grace=timedelta(0))
            raise
        self._current = _Producer(client=client, together=together)
        return self._current

    def _give_up(self, producer: _Producer, *, grace: timedelta | None = None) -> None:
        """Send no more by it. What is on its way may still arrive, for 4 s or ``grace``."""
        if producer is not self._current:
            return
        self._current = None
        grace = ANSWERS_WITHIN if grace is None else grace
        closing = asyncio.create_task(_close(producer.client, grace=grace))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # --- what operators are told -----------------------------------------------------------

    def _said(self, error: BaseException) -> str:
        kafka, topic = self._spec.kafka, self._spec.topic
        match error:
            case UnknownTopicOrPartitionError():
                return (
                    f"{kafka} has no topic '{topic}'; create it, or say by 'numPartitions' and "
                    "'replicationFactor' how it is to be made"
                )
            case TopicAuthorizationFailedError() | ClusterAuthorizationFailedError():
                who = revealed(self._spec.access.sasl.user) or "this client"
                return (
                    f"{kafka} does not let {who} write to the topic '{topic}': it takes ACLs that "
                    "allow Describe and Write, and Create where the sink is to make the topic"
                )
        return f"{kafka}: {said(error, self._spec.told)}"

    def _late(self) -> str:
        seconds = ANSWERS_WITHIN.total_seconds()
        return (
            f"{self._spec.kafka} has not stored it in the topic '{self._spec.topic}' within "
            f"{seconds:.0f} s: too few replicas may be in sync, or it does not answer"
        )

    def _too_large(self, record: Record) -> str:
        return (
            f"the event takes about {_size(record):,} bytes in Kafka, more than the topic "
            f"'{self._spec.topic}' takes (max.message.bytes)"
        )


async def _close(client: Any, *, grace: timedelta) -> None:  # noqa: ANN401 - aiokafka has no types
    """Close the producer. Whoever waits in it gets an answer, or else `ProducerClosed`."""
    await close_producer(client, grace=grace)
    client._message_accumulator.fail_all(ProducerClosed())  # which has no public name, either


def _size(record: Record) -> int:
    headers = sum([len(name) + len(value) for name, value in record.headers])
    return len(record.key or b"") + len(record.value or b"") + headers
