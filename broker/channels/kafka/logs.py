"""Partitions, read from any offset on, whatever stands there.

A consumer of aiokafka reads ahead from where it is, which is in the way of whoever goes from
place to place, and it does not get past what it cannot decode. So the requests are sent here.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    UnsupportedCodecError,
)

from broker.channels.kafka.asking import fetch
from broker.channels.kafka.compacted import PATIENCE, Read, unavailable, unreadable
from broker.channels.kafka.connecting import ANSWER_WITHIN, at, check_reachable
from broker.channels.kafka.settings import ClientOptions
from broker.errors import ChannelUnavailable

_AT_ONCE: Final = 500  # records; nothing else runs while they are taken in
_KEPT: Final = 8
_WAIT: Final = timedelta(seconds=2)
_PAUSE: Final = 0.1
_CLOSED_WITHIN: Final = 1.0
_NOWHERE: Final = sys.maxsize

_log: Final = logging.getLogger("cemesh.channel")


class Logs:
    """One client for all partitions; of each, one reads at a time.

    It connects when it is first asked, and begins with the servers that it was told of again
    after a fault. What was fetched and not handed out is kept for whoever reads on there.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._client: AIOKafkaClient | None = None
        self._connected = False
        self._connecting = asyncio.Lock()
        self._turns: defaultdict[TopicPartition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._left: dict[tuple[TopicPartition, int], tuple[Sequence[Read], int]] = {}

    async def close(self) -> None:
        client, self._client = self._client, None
        self._connected = False
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSED_WITHIN):
                    await client.close()

    async def read(
        self, partition: TopicPartition, offset: int, *, wait: timedelta = timedelta(0)
    ) -> tuple[Sequence[Read], int]:
        """Return the next records from this offset on, 500 at most, and the offset to read on at.

        There may be none, and an offset to go on from all the same: what was removed is passed
        over, and so is what Kafka itself writes to end transactions. Records of transactions that
        were broken off are returned, as by aiokafka. Where there is nothing yet, and nothing
        comes within ``wait``, that is the same offset, and where the log ends before it, a lower
        one: then the log has lost its end, or its topic was made anew.

        Bytes of a header's name that are no UTF-8 are lone surrogates, as the error handler
        ``surrogateescape`` makes them.

        Raises `ChannelUnavailable`. It does so time and again where a batch is damaged, or is
        compressed with what aiokafka lacks the package for: nobody else can tell what was lost.
        """
        async with self._turns[partition]:
            left = self._left.pop((partition, offset), None)
            if left is None:
                records, on = await self._fetch(partition, offset, wait)
            else:
                records, on = left
                await asyncio.sleep(0)
        if len(records) <= _AT_ONCE:
            return records, on
        here = records[_AT_ONCE].offset
        self._left[partition, here] = records[_AT_ONCE:], on
        if len(self._left) > _KEPT:
            del self._left[next(iter(self._left))]
        return records[:_AT_ONCE], here

    async def read_written(
        self, partition: TopicPartition, offset: int
    ) -> tuple[Sequence[Read], int]:
        """Return the same, if something was written at this offset: the other one is always higher.

        Raises `ChannelUnavailable` where it cannot be seen yet.
        """
        records, on = await self.read(partition, offset, wait=_WAIT)
        if on > offset:
            return records, on
        topic, number = partition.topic, partition.partition
        if on == offset:  # a new leader may not know yet what all the others have
            raise ChannelUnavailable(
                f"{at(self._options)} does not show what was written to the topic {topic}, "
                f"partition {number}, at offset {offset}"
            )
        extra = {"topic": topic, "partition": number, "offset": offset, "end": on}
        _log.warning("events are gone: their log ends before them", extra=extra)
        return [], _NOWHERE

    async def records_at(self, partition: TopicPartition, offsets: Sequence[int]) -> Sequence[Read]:
        """Return the records at these ascending offsets, those that are there still.

        All were written once. Raises `ChannelUnavailable`.
        """
        found: list[Read] = []
        wanted = frozenset(offsets)
        reached = -1
        for offset in offsets:
            if reached <= offset:
                records, reached = await self.read_written(partition, offset)
                found += [record for record in records if record.offset in wanted]
        return found

    async def _fetch(
        self, partition: TopicPartition, offset: int, wait: timedelta
    ) -> tuple[Sequence[Read], int]:
        passing: KafkaError | None = None
        try:
            async with asyncio.timeout((PATIENCE + wait).total_seconds()):
                while True:
                    try:
                        records, on, end = await fetch(await self._open(), partition, offset, wait)
                        if on != offset or offset >= end:
                            return records, on
                        # There is more, but Kafka holds it back: this client is over its quota.
                    except KafkaError as error:
                        if not error.retriable:
                            raise
                        passing = error
                    await self._look_for_leaders()
                    await asyncio.sleep(_PAUSE)
        except (CorruptRecordException, UnsupportedCodecError) as error:
            raise unreadable(partition, offset, self._options, error) from error
        except TimeoutError as error:
            self._connected = False
            raise unavailable(partition.topic, self._options, passing or error) from error
        except (KafkaError, OSError) as error:
            raise unavailable(partition.topic, self._options, error) from error

    async def _open(self) -> AIOKafkaClient:
        async with self._connecting:
            if self._client is None:
                timeout = ANSWER_WITHIN // timedelta(milliseconds=1)
                self._client = AIOKafkaClient(**self._options, request_timeout_ms=timeout)
            if not self._connected:
                await check_reachable(self._options)  # which says why not
                await self._client.bootstrap()
                self._connected = True
            return self._client

    async def _look_for_leaders(self) -> None:
        """Find out which they are now; if no server answers, connect anew the next time."""
        if self._client is not None and self._connected:
            self._connected = await self._client.force_metadata_update()
