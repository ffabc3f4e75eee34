"""When what is put off is due, and who is told."""

from __future__ import annotations

import asyncio

import pytest

from broker.channels import clock
from broker.channels.clock import Alarm, now

HOUR = 3_600_000_000
SOON = 30.0


class Rung:
    """An alarm, and whether it has rung."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.alarm = Alarm(self._rung.set)

    @property
    def rung(self) -> bool:
        return self._rung.is_set()

    async def wait(self) -> None:
        async with asyncio.timeout(SOON):
            await self._rung.wait()


def test_what_is_due_is_taken_most_overdue_first(monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = Alarm(lambda: None)
    for position, due in [(1, 30), (2, 20), (3, 10), (4, 31)]:
        alarm.put(position, due)

    monkeypatch.setattr(clock, "now", lambda: 30)

    assert alarm.take_due() == [3, 2, 1]
    assert alarm.take_due() == []
    assert alarm.items() == [(4, 31)]


async def test_an_alarm_rings_for_what_is_due_first_whenever_that_was_put() -> None:
    late, soon = Rung(), Rung()
    for each in (late, soon):
        each.alarm.put(1, now() + HOUR)
        each.alarm.turn_on()
    soon.alarm.put(2, now())

    await soon.wait()

    assert soon.alarm.take_due() == [2]
    assert not late.rung
    late.alarm.turn_off()
    soon.alarm.turn_off()


async def test_an_alarm_that_is_off_rings_when_it_is_turned_on() -> None:
    never, later, other = Rung(), Rung(), Rung()
    for each in (never, later, other):
        each.alarm.turn_on()
    never.alarm.turn_off()
    later.alarm.turn_off()
    for each in (never, later, other):
        each.alarm.put(1, now())

    await other.wait()
    assert not later.rung
    later.alarm.turn_on()
    await later.wait()
    assert not never.rung


async def test_it_rings_again_for_what_is_due_next() -> None:
    each = Rung()
    each.alarm.put(1, now())
    each.alarm.put(2, now() + 1_000)
    each.alarm.turn_on()

    taken: list[int] = []
    async with asyncio.timeout(SOON):
        while taken != [1, 2]:
            await each.wait()
            each._rung.clear()
            taken += each.alarm.take_due()
