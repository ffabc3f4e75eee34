"""The producer in use, which is replaced once it is of no use.

That is whenever a batch was refused or not answered. aiokafka numbers the batches of a
partition, for Kafka to tell repetitions, and does not take back the number of one that failed,
so that Kafka would refuse all that come after it; nor does it ever give up one that is not
answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from broker.channels.kafka.connecting import ANSWER_WITHIN, at, open_producer
from broker.channels.kafka.settings import ClientOptions
from broker.connections.kafka import close_producer, ended
from broker.errors import ChannelUnavailable

_TRIES_EVERY: Final = 0.5
_REPLACED_EVERY: Final = 0.1
_CLOSES_WITHIN: Final = timedelta(seconds=1)
_ABANDONED_WITHIN: Final = 3.0

_log: Final = logging.getLogger("cemesh.channel")


class Producers:
    """Keeps one producer open while it runs.

    ``current`` is None while there is none; then ``outage`` says why, once that is known.
    ``topics`` are those that a new producer is to know; ``on_opened`` is told of it, and
    ``on_outage`` of every attempt that fails.
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        topics: Iterable[str],
        on_opened: Callable[[Any], None],
        on_outage: Callable[[ChannelUnavailable], None],
    ) -> None:
        self.current: Any = None
        self.outage: ChannelUnavailable | None = None
        self.opened = asyncio.Event()
        self.tried = asyncio.Event()
        self._options = options
        self._topics = topics
        self._on_opened = on_opened
        self._on_outage = on_outage
        self._replace = asyncio.Event()
        self._given_up: list[Any] = []

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Open a producer, and another whenever the current one is given up.

        Those that were are closed by tasks of the group: cancelling this does not cut that short.
        """
        while True:
            try:
                producer = await open_producer(self._options, self._topics)
            except ChannelUnavailable as error:
                self.missed(error)
                self.tried.set()
                await asyncio.sleep(_TRIES_EVERY)
                continue
            if self.outage is not None:
                _log.info("kafka reachable again", extra={"servers": at(self._options)})
            self.outage = None
            self.current = producer
            self._on_opened(producer)
            self.opened.set()
            self.tried.set()
            await self._replace.wait()
            self._replace.clear()
            for each in self._given_up:
                group.create_task(close_producer(each, grace=ANSWER_WITHIN))
            self._given_up.clear()
            await asyncio.sleep(_REPLACED_EVERY)

    def give_up(self, producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Send no more by this producer, but let what is on its way arrive, for a while."""
        if producer is None or producer is not self.current:
            return
        self.current = None
        self.opened.clear()
        self._replace.set()
        self._given_up.append(producer)

    async def abandon(self) -> None:
        """Return once nothing is sent any more by the current producer, nor on its way."""
        producer, self.current = self.current, None
        self.opened.clear()
        if producer is not None:
            try:
                await ended(close_producer(producer, grace=timedelta(0)), grace=_ABANDONED_WITHIN)
            finally:
                self._replace.set()

    def missed(self, error: ChannelUnavailable) -> None:
        """Note that Kafka cannot be used."""
        if self.outage is None:
            _log.warning("kafka unreachable", extra={"why": str(error)})
        self.outage = error
        self._on_outage(error)

    async def close(self) -> None:
        """Close what is open, once `run` has been cancelled."""
        left = [self.current, *self._given_up]
        self.current = None
        for producer in left:
            if producer is not None:
                await close_producer(producer, grace=_CLOSES_WITHIN)
