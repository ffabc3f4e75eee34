"""What bounds a trigger, shared out among the processes of a mesh."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.mesh.parts import share_of
from broker.policy import Limits, Rate
from broker.trigger import DeliveryPolicy, Desired, Target, Trigger

KEY = "default/audit"


def shares(trigger: Trigger, processes: int) -> list[Trigger]:
    desired = Desired(triggers={trigger.key: trigger})
    return [share_of(desired, each, processes).triggers[KEY] for each in range(processes)]


def audit(*, parallelism: int = 100, limits: Limits = Limits()) -> Trigger:
    return Trigger(
        key=KEY,
        broker="default/default",
        subscriber=Target(url="http://x/"),
        parallelism=parallelism,
        delivery=DeliveryPolicy(limits=limits),
    )


@pytest.mark.parametrize(
    ("parallelism", "processes", "parts"),
    [(100, 1, [100]), (100, 3, [34, 33, 33]), (4, 4, [1, 1, 1, 1]), (1, 3, [1, 1, 1])],
)
def test_attempts_under_way_are_shared_out_and_each_process_has_one_at_least(
    parallelism: int, processes: int, parts: list[int]
) -> None:
    assert [each.parallelism for each in shares(audit(parallelism=parallelism), processes)] == parts


def test_a_rate_and_bytes_in_flight_are_shared_out() -> None:
    limits = Limits(rate=Rate(per_second=10, burst=5), bytes_in_flight=1_000)

    one, other = (each.delivery.limits for each in shares(audit(limits=limits), 2))

    assert (one.rate, other.rate) == (
        Rate(per_second=5, burst=3),
        Rate(per_second=5, burst=2),
    )
    assert one.bytes_in_flight == other.bytes_in_flight == 500


def test_nothing_else_of_a_trigger_is_changed() -> None:
    trigger = audit(parallelism=10)

    assert shares(trigger, 2)[0] == replace(trigger, parallelism=5)
