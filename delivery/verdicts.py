"""What an answer means for the delivery: done, tried again, or given up."""

from __future__ import annotations

from typing import Final, assert_never

from broker.ports import Accepted, Answer, Refused, Verdict

RETRIED: Final = frozenset({404, 408, 409, 429})
"""The refusals of the client's class that may pass, as Knative sees it."""

GONE: Final = 410
"""The refusal that is about the subscriber for good, whatever the event."""

_TOO_MANY: Final = 429

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


def tells_of_outage(refused: Refused) -> bool:
    """Return whether the refusal is about the subscriber, and any other event would get it, too.

    That is so of no answer at all, any 5xx, a status that HTTP does not know, and 429. Any other
    answer is about the one event, and shows that somebody is there to judge it.
    """
    status = refused.status
    if status is None:
        return not refused.permanent
    return status == _TOO_MANY or not 200 <= status < 500
