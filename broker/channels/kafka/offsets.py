"""Where the partitions of topics begin and end, and where they were at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, NamedTuple, Self

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    BrokerResponseError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from broker.channels.kafka.compacted import PATIENCE, unavailable
from broker.channels.kafka.connecting import check_reachable
from broker.channels.kafka.rounds import Rounds
from broker.channels.kafka.settings import ClientOptions

_END: Final = -1
_BEGINNING: Final = -2
_NOT_FOUND: Final = -1
_ANY_RECORD: Final = 0  # transactions that are not committed count as well

_PAUSE: Final = 0.1
_CLOSED_WITHIN: Final = 1.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class _Asked(NamedTuple):
    """``time`` is in milliseconds since 1970, or one of the above."""

    topic: str
    time: int


class Offsets:
    """Asks Kafka, on a connection of its own: behind a fetch, a question waits for news.

    The connection is opened when it is first needed, and again after a fault. Calls at the same
    time share requests: one for the partitions that there are now, so that those added since are
    among them, and one to each server that leads some. All methods map the partitions' numbers
    to offsets, as of a moment after the call began, and raise `ChannelUnavailable`.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._client: Any = None
        self._rounds: Rounds[_Asked, Mapping[int, int]] = Rounds(self._serve)

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the offsets that the next records will have."""
        return await self._rounds.ask(_Asked(topic, _END))

    async def beginnings(self, topic: str) -> Mapping[int, int]:
        """Return the offsets from which on the partitions are kept."""
        return await self._rounds.ask(_Asked(topic, _BEGINNING))

    async def at_time(self, topic: str, time: datetime) -> Mapping[int, int]:
        """Return the offsets of the first records with that timestamp or a later one.

        Where there is none, it is the end.
        """
        since = max(0, -((_EPOCH - time) // _MILLISECOND))  # no earlier than asked for
        ends = await self.ends(topic)  # first, as what comes meanwhile may be late enough
        found = await self._rounds.ask(_Asked(topic, since))
        return {
            partition: ends.get(partition, 0) if offset == _NOT_FOUND else offset
            for partition, offset in found.items()
        }

    async def _serve(self, asked: Collection[_Asked]) -> Mapping[_Asked, Mapping[int, int]]:
        passing: KafkaError | None = None
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                while True:
                    try:
                        return await _answers(await self._opened(), asked)
                    except KafkaError as error:
                        if not error.retriable:
                            raise
                        passing = error
                        if not isinstance(error, BrokerResponseError):
                            await self._close()  # it may be a server that is new, too
                    await asyncio.sleep(_PAUSE)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._close()
            topics = ", ".join(sorted({topic for topic, _ in asked}))
            raise unavailable(topics, self._options, passing or error) from error
        except BaseException:
            await self._close()
            raise

    async def _opened(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        if self._client is None:
            await check_reachable(self._options)  # which says why not
            self._client = AIOKafkaClient(
                **self._options,
                request_timeout_ms=PATIENCE // _MILLISECOND,
                # By itself it would ask for all topics of the cluster, every five minutes.
                metadata_max_age_ms=timedelta(days=1) // _MILLISECOND,
            )
            await self._client.bootstrap()
        return self._client

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSED_WITHIN):
                    await client.close()


async def _answers(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    asked: Collection[_Asked],
) -> Mapping[_Asked, Mapping[int, int]]:
    leaders = await _leaders(client, sorted({topic for topic, _ in asked}))
    # A request can ask only once for each partition.
    requests: dict[tuple[int, int], dict[str, list[tuple[int, int]]]] = defaultdict(dict)
    for topic, time in asked:
        for partition, leader in leaders[topic].items():
            requests[leader, time].setdefault(topic, []).append((partition, time))
    answers = await asyncio.gather(
        *(_listed(client, *request, topics) for request, topics in requests.items())
    )
    found: dict[_Asked, dict[int, int]] = {each: {} for each in asked}
    for answered, partition, offset in chain.from_iterable(answers):
        found[answered][partition] = offset
    return found


async def _leaders(client: Any, topics: Sequence[str]) -> Mapping[str, Mapping[int, int]]:  # noqa: ANN401 - aiokafka has no types
    """Return, for each topic, the server that leads each of its partitions."""
    request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
    metadata = await client.send(client.get_random_node(), request)
    found: dict[str, Mapping[int, int]] = {}
    for code, topic, _, partitions in metadata.topics:
        _check(code, topic)
        found[topic] = {partition: leader for _, partition, leader, *_ in partitions}
        if -1 in found[topic].values():
            raise LeaderNotAvailableError(topic)
    return found


async def _listed(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    leader: int,
    time: int,
    topics: Mapping[str, Sequence[tuple[int, int]]],
) -> Sequence[tuple[_Asked, int, int]]:
    """Return whose answer it is, the partition and the offset, for each partition."""
    request = OffsetRequest(-1, _ANY_RECORD, [(topic, list(topics[topic])) for topic in topics])
    answer = await client.send(leader, request)
    found = []
    for topic, partitions in answer.topics:
        for partition, code, _, offset in partitions:
            _check(code, topic)
            found.append((_Asked(topic, time), partition, offset))
    return found


def _check(code: int, topic: str) -> None:
    error = for_code(code)
    if error is not NoError:
        raise error(topic)
