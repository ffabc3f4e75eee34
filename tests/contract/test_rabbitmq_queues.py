"""RabbitmqSource and RabbitmqSink on a server of their own: crashes, limits and alarms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from broker.ports import Accepted
from tests.contract.rabbitmq import has_written_down, until
from tests.contract.rabbitmq_queues import declare, publish, read
from tests.contract.test_rabbitmq_sink import event, is_final, reason, sending
from tests.services.rabbitmq.distribution import Distribution
from tests.services.rabbitmq.server import RabbitMQServer


@pytest.fixture(scope="module")
def server(
    rabbitmq_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitMQServer]:
    with RabbitMQServer(tmp_path_factory.mktemp("rabbitmq"), rabbitmq_distribution) as running:
        yield running


async def test_one_that_is_too_large_is_refused_for_good_and_the_others_are_not(
    server: RabbitMQServer,
) -> None:
    server.ctl("eval", "application:set_env(rabbit, max_message_size, 100000).")
    url = server.listeners.url()
    await declare(url, "orders")
    async with sending(url, routingKey="orders") as sink:
        large, small = await asyncio.gather(
            sink.attempt(event(b"x" * 200_000)), sink.attempt(event())
        )
        again = await sink.attempt(event())
        with server.memory_alarm():
            blocked = await sink.attempt(event())
        async with asyncio.timeout(30):
            while not isinstance(await sink.attempt(event()), Accepted):
                await asyncio.sleep(0.05)

    assert "the message has 200,000 bytes, and it takes 100,000" in reason(large)
    assert is_final(large)
    assert not is_final(small)
    assert isinstance(again, Accepted)
    assert "it takes no messages now, for an alarm" in reason(blocked)
    assert not is_final(blocked)


async def test_a_server_that_is_killed_is_read_on_when_it_is_back(
    server: RabbitMQServer,
) -> None:
    name = "read-on"
    url = server.listeners.url()
    await declare(url, name)
    async with read(url, name) as run:
        await publish(url, name, b"1")
        await run.events(1)
        await until(lambda: has_written_down(server, name))
        await asyncio.to_thread(server.kill)
        await run.until("unhealthy")
        await asyncio.to_thread(server.start)
        await publish(url, name, b"2")
        seen: set[bytes | None] = set()
        while b"2" not in seen:
            seen.update(each.data for each in await run.events(1))
