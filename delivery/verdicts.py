"""What an answer means for the delivery: done, tried again, or given up."""

from __future__ import annotations

from enum import Enum
from typing import Final, assert_never

from broker.ports import Accepted, Answer, Refused


class Verdict(Enum):
    """What becomes of a delivery after one attempt, as far as the answer decides it."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


RETRIED: Final = frozenset({404, 408, 409, 429})
"""The refusals of the client's class that may pass, as Knative sees it."""

NOT_RETRIED: Final = frozenset(range(300, 500)) - RETRIED
"""Redirects, which are never followed, and all other refusals of the client's class."""


def judge(answer: Answer) -> Verdict:
    """Return what the answer means.

    No answer at all, any 5xx and a status that HTTP does not know are tried again, as is a 2xx
    whose reply could not be taken.
    """
    match answer:
        case Accepted():
            return Verdict.DELIVERED
        case Refused(permanent=True):
            return Verdict.GIVE_UP
        case Refused(status=status):
            return Verdict.GIVE_UP if status in NOT_RETRIED else Verdict.RETRY
        case _:
            assert_never(answer)
