"""How much lies in a queue: RabbitMQ is asked for it only where it may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.names import trigger_name
from broker.channels.rabbitmq.session import Consumer, Session
from broker.filters import Exact
from tests.contract.harness import BROKER
from tests.contract.rabbitmq import QUEUE, opened, until
from tests.contract.test_channel import events, reading

pytestmark = pytest.mark.timeout(180)

IDLE = "default/idle"
NOTHING = Exact((("type", "nothing"),))
AHEAD = 20
"""Messages that a trigger with a small window is sent ahead."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note of which queues the server is asked how long they are."""
    found: list[str] = []
    count = Session.count

    async def noted(session: Session, consumer: Consumer) -> None:
        found.append(consumer.queue)
        await count(session, consumer)

    monkeypatch.setattr(Session, "count", noted)
    return found


async def waiting(channel: RabbitmqChannel) -> tuple[int, int]:
    """Return how many events the books say matched, and wait, of both triggers."""
    books = await channel.books()
    return (
        sum(each.matched for each in books.values()),
        sum(each.waiting for each in books.values()),
    )


async def test_a_queue_that_keeps_nothing_back_is_asked_of_once(
    rabbitmq: str, tmp_path: Path, asked: list[str]
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as channel,
        reading(channel, window=10) as reader,
        reading(channel, IDLE, filter=NOTHING),
    ):
        await until(lambda: waiting_is(channel, 0, 0))
        assert {*asked} == {QUEUE, trigger_name(BROKER, IDLE)}
        asked.clear()

        for number in range(3):  # fewer than what comes ahead
            await channel.append(events(6, start=6 * number))
            await until(lambda number=number: waiting_is(channel, 6 * number + 6, 6))  # type: ignore[misc]
            await reader.settle(*await reader.take(6))
            await until(lambda number=number: waiting_is(channel, 6 * number + 6, 0))  # type: ignore[misc]
        assert asked == []


async def test_what_does_not_fit_ahead_is_counted_until_it_is_gone(
    rabbitmq: str, tmp_path: Path, asked: list[str]
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as channel,
        reading(channel, window=5) as reader,
        reading(channel, IDLE, filter=NOTHING),
    ):
        await until(lambda: waiting_is(channel, 0, 0))
        asked.clear()

        await channel.append(events(AHEAD))
        await until(lambda: waiting_is(channel, AHEAD, AHEAD))
        await channel.append(events(2 * AHEAD, start=AHEAD))
        await until(lambda: waiting_is(channel, 3 * AHEAD, 3 * AHEAD))
        for left in range(3 * AHEAD - 1, -1, -1):
            await reader.settle(await reader.claim())
            if left % 10 == 0:
                await until(lambda left=left: waiting_is(channel, 3 * AHEAD, left))  # type: ignore[misc]
        assert {*asked} == {QUEUE}


async def waiting_is(channel: RabbitmqChannel, matched: int, left: int) -> bool:
    return await waiting(channel) == (matched, left)
