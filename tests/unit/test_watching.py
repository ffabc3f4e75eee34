"""Those who watch do not hold up what they watch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from broker.event import Event
from broker.observe.watching import Watchers
from broker.ports import Attempt, Buried, Claim, Origin, Reason, Refusal, Step, Verdict
from tests.watching import EVENT, Noting, attempt

SENDER = Origin("request", "127.0.0.1")
WHY = Refusal(destination="http://a/", reason="no", status=None, body=b"", attempts=1)


class Failing:
    """Fails at whatever it is told."""

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        raise ZeroDivisionError

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        raise ZeroDivisionError

    def attempted(self, attempt: Attempt) -> None:
        raise ZeroDivisionError

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        raise ZeroDivisionError


def tell_all(watchers: Watchers) -> tuple[Attempt, Claim]:
    made = attempt("shop/mail", Verdict.RETRY)
    claim = Claim(
        event=EVENT, attempts=0, condemned=None, accepted_at=made.accepted_at, position=None
    )
    watchers.accepted("shop/default", [EVENT], SENDER, 0.1)
    watchers.refused("shop/default", 400, "malformed_request")
    watchers.attempted(made)
    watchers.decided("shop/mail", claim, Buried(why=WHY))
    return made, claim


def test_all_are_told_also_behind_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    one, other = Noting(), Noting()

    with caplog.at_level(logging.ERROR):
        made, claim = tell_all(Watchers(one, Failing(), other))

    for each in (one, other):
        assert each.stored == [("shop/default", EVENT, SENDER)]
        assert [(broker, status) for broker, status, *_ in each.refusals] == [("shop/default", 400)]
        assert each.attempts == [made]
        assert each.decisions == [("shop/mail", claim, Buried(why=WHY))]


def test_that_one_fails_is_told_with_its_name_and_not_at_every_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchers = Watchers(Failing())

    with caplog.at_level(logging.ERROR):
        tell_all(watchers)
        tell_all(watchers)

    [line] = caplog.records
    assert (line.getMessage(), vars(line)["what"]) == ("watching failed", "Failing")
    assert line.exc_info is not None
