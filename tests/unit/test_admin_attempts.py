"""What the admin API tells of a trigger's attempts."""

from __future__ import annotations

from broker.admin.models.attempts import AttemptsDocument
from broker.observe.durations import BOUNDS, Durations
from broker.observe.families import ATTEMPT, ATTEMPTS
from broker.status import Counts

TRIGGER = "default/audit"


def test_attempts_are_told_by_outcome_and_by_how_long_they_took() -> None:
    taken = Durations()
    for seconds in (0.002, 0.002, 20_000.0):
        taken.add(seconds)
    counts = Counts(
        counters={
            (ATTEMPTS.name, (TRIGGER, "subscriber", "delivered")): 2,
            (ATTEMPTS.name, (TRIGGER, "subscriber", "refused")): 1,
            (ATTEMPTS.name, (TRIGGER, "dead-letter sink", "delivered")): 7,
            (ATTEMPTS.name, ("default/other", "subscriber", "delivered")): 9,
        },
        durations={(ATTEMPT.name, (TRIGGER, "subscriber")): taken.tally},
    )

    told = AttemptsDocument.of(TRIGGER, counts)

    assert told.outcomes == {"delivered": 2, "refused": 1}
    counted = {each.le: each.count for each in told.attempts.buckets if each.count}
    assert counted == {0.0025: 2, None: 1}
    assert told.attempts.seconds == 20_000.004


def test_of_a_trigger_without_attempts_all_is_nought() -> None:
    told = AttemptsDocument.of(TRIGGER, Counts())

    assert told.outcomes == {}
    for each in (told.attempts, told.channel, told.end_to_end):
        assert [bucket.count for bucket in each.buckets] == [0] * len(BOUNDS)
        assert each.seconds == 0
