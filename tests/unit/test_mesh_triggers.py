from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from broker.mesh import triggers
from broker.mesh.triggers import TriggerRun
from broker.ports import (
    Buried,
    Claim,
    Ended,
    Outcome,
    Refusal,
    Refused,
    Settled,
    Step,
    Underway,
)
from broker.status import TriggerState
from delivery.gate import Gate
from delivery.parking import Parking
from tests.unit.meshes import HeldChannel, Store, make_event, make_trigger, until

OLD, NEW = 1, 2
"""The windows by which the channel knows the runs apart."""


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "_SUBSCRIBE", 0.02)
    monkeypatch.setattr(triggers, "_RESTART", 0.01)


@pytest.fixture
async def channel() -> HeldChannel:
    return await Store().channel("default/default", {}, {})


class Stepping:
    """Delivers by a function."""

    def __init__(self, step: Callable[[Claim], Awaitable[Step]]) -> None:
        self._step = step

    async def step(self, claim: Claim) -> Step:
        return await self._step(claim)

    def begin(self, claim: Claim, done: Callable[[Ended], None]) -> Underway | None:
        return None


class Run:
    """A run, and what it was given to deliver."""

    def __init__(self, channel: HeldChannel, window: int) -> None:
        self.got: list[str] = []
        self.faults = 0
        trigger = make_trigger("orders", "http://nowhere.test/", parallelism=window)
        self.run = TriggerRun(
            trigger, channel, Stepping(self._step), Gate(trigger), Parking(trigger)
        )

    async def _step(self, claim: Claim) -> Step:
        self.got.append(claim.event.id)
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError("a bug")
        return Settled(outcome=Outcome.DELIVERED)


async def test_started_it_gets_what_is_appended_from_then_on(channel: HeldChannel) -> None:
    orders = Run(channel, NEW)
    async with asyncio.TaskGroup() as tasks:
        await orders.run.start(tasks)
        await channel.append([make_event("1")])
        await until(lambda: orders.got == ["1"])
        await orders.run.leave(timedelta(seconds=10))


async def test_a_subscription_that_is_refused_is_tried_again(
    channel: HeldChannel, caplog: pytest.LogCaptureFixture
) -> None:
    orders = Run(channel, NEW)
    channel.refused.add(NEW)
    with caplog.at_level(logging.WARNING):
        async with asyncio.TaskGroup() as tasks:
            await orders.run.start(tasks)
            channel.refused.clear()
            await until(lambda: channel.windows == [NEW])
            await channel.append([make_event("1")])
            await until(lambda: orders.got == ["1"])
            await orders.run.leave(timedelta(seconds=10))

    assert "trigger interrupted" in caplog.messages
    assert vars(caplog.records[0])["why"] == "the test refuses it"


async def test_a_fault_is_told_and_the_event_is_given_again(
    channel: HeldChannel, caplog: pytest.LogCaptureFixture
) -> None:
    orders = Run(channel, NEW)
    orders.faults = 2
    with caplog.at_level(logging.ERROR):
        async with asyncio.TaskGroup() as tasks:
            await orders.run.start(tasks)
            await channel.append([make_event("1")])
            await until(lambda: orders.got == ["1", "1", "1"])
            await orders.run.leave(timedelta(seconds=10))

    assert caplog.messages == ["trigger failed", "trigger failed"]
    assert caplog.records[0].exc_info is not None


async def test_a_run_that_is_replaced_does_not_come_back_in_place_of_the_new_one(
    channel: HeldChannel,
) -> None:
    old, new = Run(channel, OLD), Run(channel, NEW)
    channel.refused |= {OLD, NEW}
    async with asyncio.TaskGroup() as tasks:
        async with asyncio.timeout(30), asyncio.TaskGroup() as olds:  # it ends by itself
            await old.run.start(olds)
            old.run.make_way()
            await new.run.start(tasks)
            channel.refused.clear()

        await until(lambda: NEW in channel.windows)
        await channel.append([make_event("1")])
        await until(lambda: new.got == ["1"])
        assert channel.windows == [NEW]
        await new.run.leave(timedelta(seconds=10))


async def test_a_run_goes_on_until_the_one_that_replaces_it_has_subscribed(
    channel: HeldChannel,
) -> None:
    old, new = Run(channel, OLD), Run(channel, NEW)
    async with asyncio.TaskGroup() as tasks:
        await old.run.start(tasks)
        channel.refused.add(NEW)
        old.run.make_way()
        await new.run.start(tasks)
        await channel.append([make_event("1")])
        await until(lambda: old.got == ["1"])

        channel.refused.clear()
        await until(lambda: channel.windows == [OLD, NEW])
        await channel.append([make_event("2")])
        await until(lambda: new.got == ["2"])
        assert old.got == ["1"]
        await old.run.leave(timedelta(seconds=10))
        await new.run.leave(timedelta(seconds=10))


async def test_stopped_while_it_waits_for_its_channel_it_ends(channel: HeldChannel) -> None:
    orders = Run(channel, NEW)
    channel.refused.add(NEW)
    async with asyncio.TaskGroup() as tasks:
        await orders.run.start(tasks)
        await orders.run.leave(timedelta(seconds=10))

    assert channel.windows == []


async def test_a_run_that_has_ended_tells_no_more_of_its_state(channel: HeldChannel) -> None:
    trigger = make_trigger("orders", "http://nowhere.test/")
    told: list[TriggerState] = []
    others: list[TriggerState] = []
    gate = Gate(trigger, on_change=told.append)
    wait = Refused(reason="503", status=503, retry_after=timedelta(seconds=0.1))

    async def step(claim: Claim) -> Step:
        gate.heard(claim, wait)
        return Settled(outcome=Outcome.DELIVERED)

    run = TriggerRun(trigger, channel, Stepping(step), gate, Parking(trigger))
    async with asyncio.TaskGroup() as tasks:
        await run.start(tasks)
        await channel.append([make_event("1")])
        await until(lambda: len(told) == 1)
        await run.leave(timedelta(seconds=10))
    later = Gate(trigger, on_change=others.append)
    claim = Claim(
        event=make_event("2"),
        attempts=0,
        condemned=None,
        accepted_at=datetime.now(UTC),
        position=None,
    )
    later.heard(claim, wait)
    await until(lambda: len(others) == 2)

    assert [each.phase for each in told] == ["held"]


async def test_many_dead_letters_are_told_by_few_lines(
    channel: HeldChannel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_TELL", 3600.0)
    why = Refusal(destination="http://x/", reason="500 Oh", status=500, body=b"", attempts=3)

    async def refuse(_: Claim) -> Step:
        return Buried(why=why)

    trigger = make_trigger("orders", "http://nowhere.test/")
    run = TriggerRun(trigger, channel, Stepping(refuse), Gate(trigger), Parking(trigger))
    with caplog.at_level(logging.WARNING):
        async with asyncio.TaskGroup() as tasks:
            await run.start(tasks)
            await channel.append([make_event(str(number)) for number in range(50)])
            await until(lambda: len(channel.dead_letters._letters) == 50)
            run._tell_again = 0.0  # the hour is over
            await channel.append([make_event("51")])
            await until(lambda: len(caplog.records) == 2)
            await run.leave(timedelta(seconds=10))

    first, second = (vars(record) for record in caplog.records)
    assert (first["message"], first["why"], first["count"]) == ("dead-lettered", "500 Oh", 1)
    assert second["count"] == 50
