from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.trigger import BackoffPolicy, DeliveryPolicy
from delivery.backoff import LONGEST_WAIT, Retries

DELIVERY = Path(__file__).parent.parent.parent / "docs" / "delivery.md"


def policy(
    *,
    backoff_policy: BackoffPolicy = "exponential",
    delay: timedelta = timedelta(seconds=1),
    cap: timedelta | None = None,
    jitter: float = 0.0,
    retry: int = 10,
    retry_after_max: timedelta = timedelta(hours=1),
) -> DeliveryPolicy:
    return DeliveryPolicy(
        backoff_policy=backoff_policy,
        backoff_delay=delay,
        backoff_cap=cap,
        backoff_jitter=jitter,
        retry=retry,
        retry_after_max=retry_after_max,
    )


def seconds(retries: Retries, attempts: int, retry_after: timedelta | None = None) -> float:
    return retries.wait(attempts, retry_after).total_seconds()


def test_exponential_backoff_doubles_from_twice_the_delay() -> None:
    retries = Retries(policy(delay=timedelta(seconds=0.2)))

    assert [seconds(retries, n) for n in (1, 2, 3, 4, 10)] == [0.4, 0.8, 1.6, 3.2, 204.8]


def test_linear_backoff_grows_by_the_delay() -> None:
    retries = Retries(policy(backoff_policy="linear", delay=timedelta(seconds=3)))

    assert [seconds(retries, n) for n in (1, 2, 3, 10)] == [3, 6, 9, 30]


def test_the_default_policy_is_that_of_knative() -> None:
    retries = Retries(DeliveryPolicy(backoff_jitter=0))

    assert [seconds(retries, n) for n in (1, 2)] == [0.4, 0.8]
    assert [n for n in range(1, 20) if retries.exhausted(n)] == list(range(11, 20))


def test_the_documentation_has_the_waits_of_the_default_policy() -> None:
    retries = Retries(DeliveryPolicy(backoff_jitter=0))
    rows, total = [], 0.0
    for number in range(1, DeliveryPolicy().retry + 1):
        wait = seconds(retries, number)
        total += wait
        rows.append(f"| {number} | {wait:g} s | {total:g} s |")

    table = DELIVERY.read_text().partition("| before retry |")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == rows


def test_without_retries_the_first_attempt_is_the_last() -> None:
    assert Retries(policy(retry=0)).exhausted(1)


@pytest.mark.parametrize("backoff_policy", ["exponential", "linear"])
@given(
    attempts=st.integers(1, 1001),
    delay=st.timedeltas(timedelta(0), timedelta(days=10_000)),
    cap=st.none() | st.timedeltas(timedelta(0), timedelta(days=10_000)),
    jitter=st.floats(0, 1),
    retry_after=st.none() | st.timedeltas(timedelta(0)),
    retry_after_max=st.timedeltas(timedelta(0)),
)
def test_every_wait_is_bounded_and_ends_at_a_date(
    backoff_policy: BackoffPolicy,
    attempts: int,
    delay: timedelta,
    cap: timedelta | None,
    jitter: float,
    retry_after: timedelta | None,
    retry_after_max: timedelta,
) -> None:
    retries = Retries(
        policy(
            backoff_policy=backoff_policy,
            delay=delay,
            cap=cap,
            jitter=jitter,
            retry=1000,
            retry_after_max=retry_after_max,
        )
    )

    wait = retries.wait(attempts, retry_after)

    assert timedelta(0) <= wait <= LONGEST_WAIT
    assert retry_after is not None or cap is None or wait <= cap
    assert datetime(2026, 1, 1) + wait  # noqa: DTZ001 - any date does


@given(jitter=st.floats(0, 1), attempts=st.integers(1, 8))
def test_jitter_stays_within_its_share(jitter: float, attempts: int) -> None:
    wait = seconds(Retries(policy(jitter=jitter)), attempts)

    base = 2.0**attempts
    assert base * (1 - jitter) - 1e-6 <= wait <= base * (1 + jitter) + 1e-6


def test_jitter_varies_waits() -> None:
    retries = Retries(policy(jitter=0.1))

    assert len({retries.wait(3, None) for _ in range(20)}) > 1


def test_retry_after_lengthens_a_wait_up_to_its_bound_and_never_shortens_it() -> None:
    retries = Retries(policy(retry_after_max=timedelta(seconds=100), cap=timedelta(seconds=10)))

    assert seconds(retries, 1, timedelta(seconds=1)) == 2
    assert seconds(retries, 1, timedelta(seconds=50)) == 50
    assert seconds(retries, 1, timedelta(seconds=500)) == 100
