"""What one process at a time does and puts for sources, with several of them on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import timedelta

import pytest

from broker.channels.kafka import alone
from broker.channels.kafka.alone import do_alone
from broker.channels.kafka.settings import ClientOptions, Settings
from broker.errors import ChannelUnavailable
from tests.contract.kafka import SOON, admin_of, new_broker, opened
from tests.services.relay import Relay

SOURCE = "JsonlSource default/orders"
GIVES_WAY = 60.0
"""Seconds; the channel promises 30, of which a busy machine makes more."""


class Worker:
    """A process that would do the work of a group."""

    def __init__(self, address: str, group: str) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.task = asyncio.create_task(do_alone(client(address), group, self._work))

    async def _work(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # so that to be cancelled is not yet to have ended
            self.ended.set()


def client(address: str) -> ClientOptions:
    return Settings(
        bootstrap_servers=(address,), topic="any", base="any", group="any"
    ).client_options()


@asynccontextmanager
async def would_work(address: str, group: str) -> AsyncIterator[Worker]:
    worker = Worker(address, group)
    try:
        yield worker
    finally:
        worker.task.cancel()
        with suppress(ChannelUnavailable, asyncio.CancelledError):
            await worker.task


async def agreed(address: str, group: str, *, members: int, state: str = "Stable") -> None:
    """Return once the group has agreed with so many members, or is in another state with them."""
    async with admin_of(address) as admin, asyncio.timeout(GIVES_WAY):
        while True:
            [answer] = await admin.describe_consumer_groups([group])
            [(_, _, found, _, _, those, *_)] = answer.groups
            if found == state and len(those) == members:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("outage", [Relay.cut, Relay.hung])
async def test_who_is_cut_off_has_stopped_before_another_begins_in_time(
    kafka: str, kafka_relay: Relay, outage: Callable[[Relay], AbstractContextManager[None]]
) -> None:
    group = new_broker()
    async with would_work(kafka_relay.address, group) as one:
        await asyncio.wait_for(one.begun.wait(), SOON)
        async with would_work(kafka, group) as other:
            await agreed(kafka, group, members=2)
            assert not other.begun.is_set()

            with outage(kafka_relay):
                await asyncio.wait_for(other.begun.wait(), GIVES_WAY)
                assert one.ended.is_set()
                with pytest.raises(ChannelUnavailable, match="nobody else does the work"):
                    await one.task


@pytest.mark.timeout(120)
async def test_who_works_goes_on_whoever_comes_and_dies(kafka: str, kafka_relay: Relay) -> None:
    group = new_broker()
    async with would_work(kafka, group) as one:
        await asyncio.wait_for(one.begun.wait(), SOON)
        async with would_work(kafka_relay.address, group) as dies:
            await agreed(kafka, group, members=2)

            with kafka_relay.cut():
                async with would_work(kafka, group) as other:
                    # Until the one that has died is missed, nobody can agree on anything.
                    await agreed(kafka, group, members=3, state="PreparingRebalance")
                    await agreed(kafka, group, members=2)

                    assert not one.ended.is_set()
                    assert not one.task.done()
                    assert not other.begun.is_set()
                    assert not dies.begun.is_set()


@pytest.fixture
def late_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be missed who has not left, while a test lasts."""
    monkeypatch.setattr(alone, "_SESSION", timedelta(minutes=5))


@pytest.mark.usefixtures("late_missed")
async def test_who_leaves_lets_the_next_begin_when_its_work_has_ended(kafka: str) -> None:
    group = new_broker()
    async with would_work(kafka, group) as one, would_work(kafka, group) as other:
        async with asyncio.timeout(SOON):
            await asyncio.wait(
                [asyncio.ensure_future(each.begun.wait()) for each in (one, other)],
                return_when=asyncio.FIRST_COMPLETED,
            )
        first, second = (one, other) if one.begun.is_set() else (other, one)
        await agreed(kafka, group, members=2)
        assert not second.begun.is_set()

        first.task.cancel()
        await asyncio.wait_for(second.begun.wait(), SOON)

        assert first.ended.is_set()


@pytest.mark.usefixtures("late_missed")
async def test_work_that_takes_its_time_to_end_is_waited_for(kafka: str) -> None:
    group = new_broker()
    begun, stopping, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await may_end.wait()

    task = asyncio.create_task(do_alone(client(kafka), group, work))
    await asyncio.wait_for(begun.wait(), SOON)
    async with would_work(kafka, group) as other:
        await agreed(kafka, group, members=2)
        task.cancel()
        await stopping.wait()
        task.cancel()
        await agreed(kafka, group, members=2)
        assert not other.begun.is_set()

        may_end.set()
        await asyncio.wait_for(other.begun.wait(), SOON)

        assert task.cancelled()


async def test_the_checkpoint_that_was_put_last_counts_whoever_put_it(kafka: str) -> None:
    broker = new_broker()
    async with opened(kafka, broker) as one, opened(kafka, broker) as other:
        for number in range(0, 20, 2):
            await one.checkpoints.put(SOURCE, b"%d" % number)
            assert await other.checkpoints.get(SOURCE) == b"%d" % number
            await other.checkpoints.put(SOURCE, b"%d" % (number + 1))
            assert await one.checkpoints.get(SOURCE) == b"%d" % (number + 1)
        await other.checkpoints.put(SOURCE, b"20")
        await one.checkpoints.put(SOURCE, b"21")

        assert await one.checkpoints.get(SOURCE) == b"21"
        assert await other.checkpoints.get(SOURCE) == b"21"
    async with opened(kafka, broker) as later:
        assert await later.checkpoints.get(SOURCE) == b"21"
