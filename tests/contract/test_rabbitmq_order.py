"""Ordered triggers on RabbitMQ: a queue changes hands, and the order stays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.ports import Channel
from tests.contract.rabbitmq import SOON, opened, until
from tests.contract.test_channel import TRIGGER, Reader, keyed, reading
from tests.services.rabbitmq.distribution import Distribution
from tests.services.rabbitmq.server import RabbitMQServer

pytestmark = pytest.mark.timeout(180)

MORE_THAN_ONE_HOLDS = 6_000


async def append(channel: RabbitmqChannel, wanted: list[str]) -> None:
    for start in range(0, len(wanted), 500):
        await channel.append(keyed(*wanted[start : start + 500]))


async def settle(reader: Reader, count: int) -> list[str]:
    got = []
    for _ in range(count):
        claim = await reader.claim()
        got.append(claim.event.id)
        await reader.settle(claim)
    return got


async def test_whoever_leaves_gives_back_in_order_what_it_had_ahead(
    rabbitmq: str, tmp_path: Path
) -> None:
    wanted = [f"a{number}" for number in range(MORE_THAN_ONE_HOLDS)]
    got: list[str] = []
    async with opened(rabbitmq, tmp_path / "1") as one, opened(rabbitmq, tmp_path / "2") as other:
        async with AsyncExitStack() as stays:
            async with reading(one, ordered=True) as first:
                await append(one, wanted)
                got += await settle(first, 10)
                second = await stays.enter_async_context(reading(other, ordered=True))
            got += await settle(second, 90)
        async with reading(one, ordered=True) as third:
            got += await settle(third, MORE_THAN_ONE_HOLDS - 100)
            async with reading(other, ordered=True):
                # Whichever of them tells the books reads in a stream what the other has done.
                async with asyncio.timeout(SOON):
                    while await books(one, other) != (MORE_THAN_ONE_HOLDS, 0):
                        await asyncio.sleep(0.05)

    assert got == wanted


async def books(*channels: Channel) -> tuple[int, int]:
    """Return how many events are delivered and wait, by what these processes tell."""
    told = [(await each.books())[TRIGGER] for each in channels]
    return sum(each.delivered for each in told), sum(each.waiting for each in told)


@pytest.fixture
def impatient_server(
    rabbitmq_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitMQServer]:
    """Return a server that closes a channel which has had a message in hand for 2 seconds."""
    folder = tmp_path_factory.mktemp("rabbitmq")
    with RabbitMQServer(folder, rabbitmq_distribution) as server:
        server.ctl(
            "eval",
            "application:set_env(rabbit, consumer_timeout, 2000),"
            "application:set_env(rabbit, channel_tick_interval, 500).",
        )
        yield server


async def test_a_key_held_up_for_too_long_costs_its_trigger_a_channel_and_nobody_else(
    impatient_server: RabbitMQServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cemesh.channel")

    def losses() -> list[object]:
        return [
            record.__dict__.get("trigger")
            for record in caplog.records
            if record.levelno >= logging.WARNING
        ]

    wanted = [f"a{number}" for number in range(20)]
    async with (
        opened(impatient_server.listeners.url(), tmp_path) as channel,
        reading(channel, ordered=True) as reader,
        reading(channel, "default/other") as other,
    ):
        await channel.append(keyed(*wanted))
        await other.settle(*await other.take(20))
        held = await reader.claim()
        await until(losses)
        await reader.settle(held)
        got = [held.event.id, *await settle(reader, 19)]

        await channel.append(keyed("a20"))
        assert [await settle(each, 1) for each in (reader, other)] == [["a20"], ["a20"]]
        books = await channel.books()

    assert got == wanted
    assert set(losses()) == {TRIGGER}
    for trigger in (TRIGGER, "default/other"):
        assert (books[trigger].delivered, books[trigger].waiting) == (21, 0)
