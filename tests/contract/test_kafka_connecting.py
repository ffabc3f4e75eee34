"""What is opened on Kafka: whoever gives up opening it leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from broker.channels.kafka.compacted import close_consumer, open_consumer
from broker.channels.kafka.connecting import close_producer, open_producer
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from tests.contract.kafka import SOON

MOMENTS = [milliseconds / 1000 for milliseconds in range(30)]
"""Seconds after which opening is given up; left alone, it takes 10 ms or so."""


async def a_producer(options: ClientOptions) -> None:
    await close_producer(await open_producer(options, []), grace=timedelta(0))


async def a_consumer(options: ClientOptions) -> None:
    await close_consumer(await open_consumer(options))


@pytest.mark.parametrize("used", [a_producer, a_consumer])
async def test_what_is_given_up_while_it_opens_leaves_no_connection(
    kafka: str, used: Callable[[ClientOptions], Coroutine[Any, Any, None]]
) -> None:
    defaults = from_url(f"kafka://{kafka}")
    options = settings("default/default", {}, {}, defaults=defaults).client_options()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for moment in MOMENTS:
            using = asyncio.create_task(used(options))
            await asyncio.sleep(moment)
            using.cancel()
            await asyncio.wait([using], timeout=SOON)
        gc.collect()

    assert [str(each.message) for each in told] == []
