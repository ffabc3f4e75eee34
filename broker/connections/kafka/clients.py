"""Clients of aiokafka: ended within bounds, whatever Kafka does.

A producer whose servers are gone cannot be stopped
(https://github.com/aio-libs/aiokafka/issues/1101).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

_CLOSED_WITHIN: Final = 1.0


async def ended(work: Coroutine[Any, Any, None], *, grace: float) -> None:
    """Await the work. Whoever cancels this waits for it all the same, for ``grace`` seconds."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=grace)
        task.cancel()
        await asyncio.wait([task])
        raise
    task.result()


async def close_producer(producer: Any, *, grace: timedelta) -> None:  # noqa: ANN401 - aiokafka has no types
    """Close the producer. What is on its way is answered within ``grace``, or abandoned."""
    with suppress(TimeoutError):
        async with asyncio.timeout(grace.total_seconds()):
            await producer.flush()
    # `stop` would wait for every answer; what it does beside that has no public name.
    producer._closed = True
    for close in (producer._sender.close, producer.client.close):
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSED_WITHIN):
                await close()
