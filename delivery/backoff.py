"""How often a delivery is tried, and how long it waits in between.

The strategies are tenacity's; its loop is not used, because a delivery waits in the channel,
durably, and not in a process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from tenacity import (
    RetryCallState,
    Retrying,
    stop_after_attempt,
    wait_exponential,
    wait_incrementing,
)
from tenacity.wait import wait_base

from broker.trigger import BackoffPolicy, DeliveryPolicy

LONGEST_WAIT: Final = timedelta(days=365)
"""The bound where a policy sets none: every wait ends at a date that a channel can store."""


MOST_SHOWN: Final = 100
"""Retries of which the waits are told."""


class Jittered(wait_base):
    """Another strategy's wait, varied by a share of itself either way, and bounded."""

    def __init__(self, wait: wait_base, share: float, longest: timedelta) -> None:
        self._wait = wait
        self._share = share
        self._longest = longest.total_seconds()

    def __call__(self, retry_state: RetryCallState) -> float:
        share = random.uniform(-self._share, self._share)  # noqa: S311 - spreads load, no secret
        return min(self._wait(retry_state) * (1 + share), self._longest)


class Retries:
    """The retry policy of one trigger."""

    def __init__(self, policy: DeliveryPolicy) -> None:
        longest = LONGEST_WAIT
        if policy.backoff_cap is not None:
            longest = min(policy.backoff_cap, LONGEST_WAIT)
        growing = _GROWTH[policy.backoff_policy](policy.backoff_delay, longest)
        self._retry_after_max = min(policy.retry_after_max, LONGEST_WAIT)
        self._retrying = Retrying(
            stop=stop_after_attempt(policy.retry + 1),
            wait=Jittered(growing, policy.backoff_jitter, longest),
        )

    def exhausted(self, attempts: int) -> bool:
        """Return whether no attempt may follow these ``attempts``, counted from 1."""
        return bool(self._retrying.stop(self._after(attempts)))

    def wait(self, attempts: int, retry_after: timedelta | None) -> timedelta:
        """Return how long to wait after these ``attempts``, counted from 1.

        What the subscriber asked for with ``retry_after`` is heeded up to the policy's bound,
        but never makes the wait shorter.
        """
        backoff = timedelta(seconds=self._retrying.wait(self._after(attempts)))
        if retry_after is None:
            return backoff
        return max(backoff, min(retry_after, self._retry_after_max))

    def _after(self, attempts: int) -> RetryCallState:
        state = RetryCallState(self._retrying, None, (), {})
        state.attempt_number = attempts
        return state


def waits(policy: DeliveryPolicy, most: int) -> Sequence[timedelta]:
    """Return the waits before the retries, before the first ``most`` of them, without jitter."""
    retries = Retries(replace(policy, backoff_jitter=0))
    return [retries.wait(number, None) for number in range(1, min(policy.retry, most) + 1)]


def _linear(delay: timedelta, longest: timedelta) -> wait_base:
    """Wait d·n before retry n (n = 1, 2, …)."""
    return wait_incrementing(start=delay, increment=delay, max=longest)


def _exponential(delay: timedelta, longest: timedelta) -> wait_base:
    """Wait d·2^n before retry n (n = 1, 2, …); tenacity's exponent starts at 0."""
    return wait_exponential(multiplier=2 * delay.total_seconds(), exp_base=2, max=longest)


_GROWTH: Final[dict[BackoffPolicy, Callable[[timedelta, timedelta], wait_base]]] = {
    "exponential": _exponential,
    "linear": _linear,
}
