"""What is seen to every few seconds: offsets for the eyes of others, and what has come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from broker.channels.kafka.connecting import at, said, start
from broker.channels.kafka.holding import Holding
from broker.channels.kafka.membership import Membership
from broker.channels.kafka.settings import ClientOptions

_log: Final = logging.getLogger("cemesh.channel")

_COMMITS_EVERY: Final = timedelta(seconds=3)
_REMOVES_EVERY: Final = timedelta(seconds=30)
_PATIENCE: Final = timedelta(seconds=10)


async def commit_what_is_done(holding: Holding, membership: Membership) -> None:
    """Let the group's offsets follow, for Kafka's tools and for what scales by their lag.

    They stand before the oldest event that a trigger which keeps up has not done with. How far
    one is that does not keep up, its own account says.
    """
    while True:
        await asyncio.sleep(_COMMITS_EVERY.total_seconds())
        offsets = {
            position: partition.worked_off()
            for share in holding.shares()
            for position, partition in share.of_events()
        }
        if await holding.flush():  # so what is committed is stored, too
            await membership.commit(offsets)


async def remove_what_came_back(holding: Holding, options: ClientOptions) -> None:
    """Remove from the topics of delays what no trigger needs any more.

    Nothing else does: what waits in them has to be kept for as long as it waits.
    """
    removed: dict[TopicPartition, int] = {}
    while True:
        await asyncio.sleep(_REMOVES_EVERY.total_seconds())
        needed = {
            position: partition.needed()
            for share in holding.shares()
            for position, partition in share.of_delays()
        }
        news = {each: offset for each, offset in needed.items() if offset > removed.get(each, 0)}
        if news and await holding.flush() and await _remove(options, news):
            removed.update(news)


async def _remove(options: ClientOptions, before: Mapping[TopicPartition, int]) -> bool:
    wanted = {each: RecordsToDelete(before_offset=offset) for each, offset in before.items()}
    admin = AIOKafkaAdminClient(
        **options, request_timeout_ms=_PATIENCE // timedelta(milliseconds=1)
    )
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            await start(admin)
            await admin.delete_records(wanted)
    except (KafkaError, OSError, TimeoutError) as error:
        why = f"{at(options)}: {said(error)}"
        _log.warning("not removed from the topics of delays", extra={"why": why})
        return False
    finally:
        await admin.close()
    return True
