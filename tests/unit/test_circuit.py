from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from broker.policy import Breaker
from delivery.circuit import Circuit

POLICY = Breaker(failures=3, pause=timedelta(seconds=5), max_pause=timedelta(seconds=30))
DOWN = "connection refused"


def circuit(policy: Breaker = POLICY, *, full: int = 100, share: float = 1.0) -> Circuit:
    return Circuit(policy, full=full, share=lambda: share)


def opened(*, full: int = 100) -> Circuit:
    """Return one that has opened at 0, and probes from 5 on."""
    it = circuit(full=full)
    for _ in range(3):
        it.failed(it.turn, DOWN, 0.0)
    return it


def attempt(it: Circuit, *, fails_at: float | None = None) -> None:
    turn = it.turn
    it.begin()
    if fails_at is None:
        it.succeeded(turn)
    else:
        it.failed(turn, DOWN, fails_at)
    it.end(turn)


def pauses(it: Circuit, count: int) -> Sequence[float]:
    """Return how long it waits before each of so many probes that fail."""
    found, at = [], 0.0
    for _ in range(count):
        found.append(it.until - at)
        at = it.until
        attempt(it, fails_at=at)
    return found


def room(it: Circuit) -> int:
    """Return how many attempts it lets begin now, and begin them."""
    begun = 0
    while it.ready_at <= 5.0 and begun < 1_000:
        it.begin()
        begun += 1
    return begun


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    it = circuit()

    for outcome in (1.0, 1.0, None, 1.0, 1.0):
        attempt(it, fails_at=outcome)
    assert it.is_recovered

    attempt(it, fails_at=7.0)
    assert it.is_open
    assert (it.ready_at, it.why) == (12.0, f"3 attempts in a row failed: {DOWN}")


def test_open_it_lets_one_attempt_through_at_a_time_when_the_pause_is_over() -> None:
    assert room(opened()) == 1


def test_a_probe_that_comes_to_nothing_makes_room_for_another() -> None:
    it = opened()
    it.begin()

    it.end(it.turn)

    assert room(it) == 1


def test_pauses_double_up_to_the_longest() -> None:
    assert pauses(opened(), 5) == [5, 10, 20, 30, 30]


def test_a_pause_varies_but_is_no_longer_than_the_longest() -> None:
    it = circuit(share=1.1)
    for _ in range(3):
        it.failed(it.turn, DOWN, 0.0)

    assert [round(each, 6) for each in pauses(it, 4)] == [5.5, 11, 22, 30]


def test_a_subscriber_that_works_again_gets_twice_as_many_at_once_from_round_to_round() -> None:
    it = opened(full=10)
    attempt(it)

    rounds = []
    while not it.is_calm:
        rounds.append(room(it))
        for _ in range(rounds[-1]):
            it.succeeded(it.turn)
            it.end(it.turn)

    assert rounds == [1, 2, 4, 8]


def test_a_failure_right_after_the_probe_opens_it_again_for_longer() -> None:
    it = opened()
    attempt(it)

    attempt(it, fails_at=5.0)

    assert it.is_open
    assert it.until - 5.0 == 10


def test_while_it_recovers_a_failure_among_many_successes_is_borne() -> None:
    it = opened()
    for _ in range(10):
        attempt(it)

    attempt(it, fails_at=5.0)

    assert not it.is_open


@pytest.mark.parametrize(("full", "successes"), [(1, 1), (4, 4), (10, 10), (1_000, 10)])
def test_recovered_it_begins_with_the_shortest_pause(full: int, successes: int) -> None:
    it = opened(full=full)
    attempt(it, fails_at=5.0)
    for _ in range(successes):
        assert not it.is_recovered
        attempt(it)
    assert it.is_recovered

    for _ in range(3):
        attempt(it, fails_at=100.0)

    assert it.until == 105


def test_how_many_it_lets_through_goes_on_growing_when_it_has_recovered() -> None:
    it = opened(full=100)
    for _ in range(10):
        attempt(it)

    rounds = []
    while not it.is_calm:
        rounds.append(room(it))
        for _ in range(rounds[-1]):
            it.succeeded(it.turn)
            it.end(it.turn)

    assert rounds == [10, 20, 40, 80]


def test_attempts_that_began_before_it_opened_tell_nothing_when_they_end() -> None:
    it = circuit()
    turn = it.turn
    for _ in range(3):
        it.failed(turn, DOWN, 0.0)

    it.succeeded(turn)
    it.failed(turn, DOWN, 1.0)
    it.end(turn)

    assert it.is_open
    assert it.until == 5
    assert room(it) == 1


def test_resumed_it_lets_one_attempt_through_at_once() -> None:
    it = opened()

    it.resume()

    assert not it.is_open
    assert room(it) == 1
