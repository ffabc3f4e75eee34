"""What a process knows of the events that a trigger has parked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.ports import Claim, Refusal
from broker.trigger import DeliveryPolicy
from delivery import parking
from delivery.parking import Parking
from tests.unit.meshes import make_event, make_trigger

ORDERS = replace(
    make_trigger("orders", "http://nowhere.test/", delivery=DeliveryPolicy(parks=True)),
    ordered=True,
)
WHY = Refusal(destination="http://nowhere.test/", reason="no", status=422, body=b"", attempts=1)


def given_up(id: str, *, key: str | None = "a") -> Claim:
    event = make_event(id)
    return Claim(
        event=event if key is None else event.with_attributes({"partitionkey": key}, {}),
        attempts=0,
        condemned=WHY,
        accepted_at=datetime.now(UTC),
        position=None,
    )


def listed(of: Parking, *, is_running: bool = True) -> Sequence[str]:
    return [each.id for each in of.list(is_running=is_running)]


def test_only_an_ordered_trigger_that_is_to_park_takes_events_and_only_those_with_a_key() -> None:
    others = [
        replace(ORDERS, ordered=False),
        replace(ORDERS, delivery=DeliveryPolicy()),
    ]

    assert Parking(ORDERS).takes(given_up("1"))
    assert not Parking(ORDERS).takes(given_up("1", key=None))
    assert not any(Parking(each).takes(given_up("1")) for each in others)


def test_what_is_on_its_way_to_a_dead_letter_sink_is_not_parked() -> None:
    assert Parking(ORDERS).has(given_up("1"))
    assert not Parking(ORDERS).has(replace(given_up("1"), attempts=1))
    assert not Parking(ORDERS).has(replace(given_up("1"), condemned=None))


def test_what_waits_longest_comes_first() -> None:
    known = Parking(ORDERS)
    for each in ("2", "3", "1"):
        known.park(given_up(each), WHY)
    known.look(given_up("2"), WHY)

    assert listed(known) == ["2", "3", "1"]


def test_the_more_are_parked_the_less_often_each_is_looked_at() -> None:
    known = Parking(ORDERS)
    delays = [known.park(given_up(str(number)), WHY).delay for number in range(100)]

    assert delays[:20] == [timedelta(seconds=1)] * 20
    assert delays[-1] == timedelta(seconds=5)


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(parking, "time", clock)
    return clock


def test_what_has_gone_to_another_process_is_not_listed_any_more(clock: Clock) -> None:
    known = Parking(ORDERS)
    known.park(given_up("1"), WHY)
    known.park(given_up("2"), WHY)

    clock.now += parking._GONE_AFTER
    known.look(given_up("1"), WHY)
    assert listed(known) == ["1", "2"]
    clock.now += 1
    assert listed(known) == ["1"]


def test_what_does_not_come_while_the_trigger_is_paused_stays_listed(clock: Clock) -> None:
    known = Parking(ORDERS)
    known.park(given_up("1"), WHY)

    clock.now += 2 * parking._GONE_AFTER
    assert listed(known, is_running=False) == ["1"]
    clock.now += parking._GONE_AFTER
    assert listed(known) == ["1"]
    clock.now += 1
    assert listed(known) == []
