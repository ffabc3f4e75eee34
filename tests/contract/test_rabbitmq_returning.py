"""Triggers that go and return on RabbitMQ: they get what came meanwhile, and what was left."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker.channels.rabbitmq import recent, standing
from broker.ports import Channel
from tests.contract.rabbitmq import opened
from tests.contract.test_channel import TRIGGER, event, events, ids, numbers, reading


async def settle(channel: Channel, *numbers: str) -> None:
    """Have a process settle these events, one after the other, and leave the trigger."""
    async with reading(channel) as reader:
        for number in numbers:
            await channel.append([event(number)])
            await reader.settle(await reader.claim())


async def returned(channel: Channel, count: int) -> list[str]:
    """Return the ids of so many events that the trigger gets, and then no other."""
    async with reading(channel, window=100) as reader:
        claims = await reader.take(count)
        assert await reader.nothing()
        await reader.settle(*claims)
        return sorted(ids(claims))


async def test_what_another_process_has_settled_does_not_come_again(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with opened(rabbitmq, tmp_path) as one, opened(rabbitmq, tmp_path) as other:
        await settle(one, "0")
        await settle(other, "1")
        await other.unsubscribe(TRIGGER)
        await one.append([event("2")])

        assert await returned(other, 1) == ["2"]


async def test_what_each_of_two_processes_left_comes(rabbitmq: str, tmp_path: Path) -> None:
    async with opened(rabbitmq, tmp_path) as one, opened(rabbitmq, tmp_path) as other:
        async with reading(one, window=100) as reader:
            await one.append(events(4))
            await reader.settle(*(await reader.take(4))[1:3])
        async with reading(other, window=100) as reader:
            await reader.settle((await reader.take(2))[0])
        await other.unsubscribe(TRIGGER)
        await one.unsubscribe(TRIGGER)

        assert await returned(one, 1) in (["0"], ["3"])


async def test_it_does_not_matter_where_a_process_stood_that_has_long_ended(
    rabbitmq: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "MARGIN", 0)
    monkeypatch.setattr(standing, "_SILENT_FOR", 0)
    monkeypatch.setattr(recent, "_KEPT", 2)
    async with opened(rabbitmq, tmp_path) as channel:
        await settle(channel, "0")
    async with opened(rabbitmq, tmp_path) as channel:
        await settle(channel, *numbers(8, start=1))
        await channel.unsubscribe(TRIGGER)
        await channel.append([event("9")])

        assert await returned(channel, 1) == ["9"]


async def test_what_was_left_comes_though_much_was_settled_since(
    rabbitmq: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "MARGIN", 0)
    monkeypatch.setattr(standing, "_SILENT_FOR", 0)
    async with opened(rabbitmq, tmp_path) as one, reading(one, window=100) as reader:
        await one.append(events(30))
        claims = await reader.take(30)
        await reader.settle(*claims[3:17], *claims[19:])
    async with opened(rabbitmq, tmp_path) as other:
        await other.unsubscribe(TRIGGER)  # which this process never had
        await other.append([event("x")])

        assert await returned(other, 6) == sorted([*numbers(3), "17", "18", "x"])


async def test_what_was_left_comes_also_when_the_trigger_goes_again_before_it_was_settled(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with opened(rabbitmq, tmp_path) as channel:
        async with reading(channel, window=100) as reader:
            await channel.append(events(10))
            await reader.settle(*(await reader.take(10))[:4])
        for _ in range(2):
            await channel.unsubscribe(TRIGGER)
            async with reading(channel, window=100) as reader:
                await reader.take(6)
        await channel.unsubscribe(TRIGGER)

        assert await returned(channel, 6) == numbers(6, start=4)


async def test_what_was_to_be_tried_again_comes_again(rabbitmq: str, tmp_path: Path) -> None:
    async with opened(rabbitmq, tmp_path) as channel:
        async with reading(channel, window=100) as reader:
            await channel.append(events(2))
            first, other = await reader.take(2)
            soon = timedelta(milliseconds=300)
            reader.cursor.defer(first, soon, attempts=1, condemned=None)
            await reader.settle(other)
            again = await reader.claim()
            assert (again.event.id, again.attempts) == ("0", 1)
        await channel.unsubscribe(TRIGGER)

        assert await returned(channel, 1) == ["0"]


async def test_nothing_is_missed_where_more_is_left_than_is_looked_at(
    rabbitmq: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_LOOKED_AT", 2)
    monkeypatch.setattr(standing, "MARGIN", 0)
    async with opened(rabbitmq, tmp_path) as one, reading(one, window=100) as reader:
        await one.append(events(5))
        await reader.settle(*(await reader.take(5))[:2])
    async with opened(rabbitmq, tmp_path) as other:
        await other.unsubscribe(TRIGGER)
        async with reading(other, window=100) as reader:
            got: set[str] = set()
            while not got >= {"2", "3", "4"}:  # what was settled may come again
                got.add((await reader.claim()).event.id)
