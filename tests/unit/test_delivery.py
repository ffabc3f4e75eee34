from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ChannelFull
from broker.event import Event
from broker.ports import Accepted, Answer, Claim, Deferred, Outcome, Refusal, Refused, Settled
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.deadletter import dead_letter
from delivery.delivery import Attempt, Delivery
from delivery.verdicts import Verdict, judge, tells_of_outage

EVENT = Event.checked({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"data")
WHY = Refusal(destination="http://a/", reason="400 Bad Request", status=400, body=b"x", attempts=3)


class Buggy:
    async def attempt(self, event: Event) -> Answer:
        raise ZeroDivisionError("oh no")


class Accepting:
    async def attempt(self, event: Event) -> Answer:
        return Accepted()


async def unreachable_emit(events: Sequence[Event]) -> None:
    raise AssertionError(events)


TRIGGER = Trigger(
    key="default/orders",
    broker="default/default",
    subscriber=Target(url="http://subscriber.test/"),
    delivery=DeliveryPolicy(retry=1, dead_letter=Target(url="http://dead.test/")),
)


async def test_a_sink_that_raises_costs_an_attempt_and_not_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts: list[Attempt] = []
    delivery = Delivery(
        TRIGGER,
        subscriber=Buggy(),
        dead_letter=Accepting(),
        emit=unreachable_emit,
        on_attempt=attempts.append,
    )
    claim = Claim(
        event=EVENT, attempts=0, condemned=None, accepted_at=datetime.now(UTC), position=None
    )

    with caplog.at_level(logging.ERROR):
        first = await delivery.step(claim)
        second = await delivery.step(replace(claim, attempts=1))

    assert isinstance(first, Deferred)
    assert isinstance(second, Settled)
    assert second.outcome is Outcome.DEAD_LETTERED
    refused = attempts[0].answer
    assert isinstance(refused, Refused)
    assert refused.reason == "the sink raised ZeroDivisionError: oh no"
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Accepted(), Verdict.DELIVERED),
        (Refused(reason="", status=None), Verdict.RETRY),
        (Refused(reason="", status=None, permanent=True), Verdict.GIVE_UP),
        (Refused(reason="", status=503, permanent=True), Verdict.GIVE_UP),
        (Refused(reason="", status=200), Verdict.RETRY),
        *((Refused(reason="", status=each), Verdict.RETRY) for each in (404, 408, 409, 429)),
        *((Refused(reason="", status=each), Verdict.RETRY) for each in (500, 503, 599, 99, 600)),
        *((Refused(reason="", status=each), Verdict.GIVE_UP) for each in (300, 304, 308, 399)),
        *((Refused(reason="", status=each), Verdict.GIVE_UP) for each in (400, 410, 422, 499)),
    ],
)
def test_a_verdict_follows_from_the_answer(answer: Answer, verdict: Verdict) -> None:
    assert judge(answer) is verdict


@pytest.mark.parametrize(
    ("refused", "outage"),
    [
        (Refused(reason="", status=None), True),
        (Refused(reason="", status=None, permanent=True), False),
        *((Refused(reason="", status=each), True) for each in (429, 500, 503, 599, 99, 600)),
        *((Refused(reason="", status=each), False) for each in (200, 301, 404, 408, 409, 410, 499)),
    ],
)
def test_an_outage_is_told_from_a_verdict_about_one_event(refused: Refused, outage: bool) -> None:
    assert tells_of_outage(refused) is outage


async def test_what_the_subscriber_answered_is_heard_whatever_becomes_of_its_reply() -> None:
    heard: list[Answer] = []

    class Replying:
        async def attempt(self, event: Event) -> Answer:
            return Accepted(reply=event)

    async def full(events: Sequence[Event]) -> None:
        raise ChannelFull("no room")

    delivery = Delivery(
        TRIGGER,
        subscriber=Replying(),
        dead_letter=Accepting(),
        emit=full,
        heard=lambda _, answer: heard.append(answer),
    )
    claim = Claim(
        event=EVENT, attempts=0, condemned=None, accepted_at=datetime.now(UTC), position=None
    )

    assert isinstance(await delivery.step(claim), Deferred)
    assert heard == [Accepted(reply=EVENT)]


def test_a_dead_letter_says_who_refused_it_and_why() -> None:
    letter = dead_letter(EVENT, "default/orders", WHY)

    added = {name: letter.attributes[name] for name in letter.attributes.keys() - EVENT.attributes}
    assert added == {
        "knativeerrordest": "http://a/",
        "knativeerrorcode": "400",
        "knativeerrordata": "eA==",
        "cemeshtrigger": "default/orders",
        "cemesherrorreason": "400 Bad Request",
        "cemeshattempts": "3",
    }
    assert letter.kinds == {"knativeerrorcode": "integer", "cemeshattempts": "integer"}
    assert letter.data == b"data"


def test_a_dead_letter_without_an_answer_has_neither_code_nor_data() -> None:
    letter = dead_letter(EVENT, "default/orders", replace(WHY, status=None, body=b""))

    assert not letter.attributes.keys() & {"knativeerrorcode", "knativeerrordata"}


def test_a_dead_letter_carries_at_most_1024_bytes_of_the_answer() -> None:
    letter = dead_letter(EVENT, "default/orders", replace(WHY, body=bytes(1025)))

    assert base64.b64decode(letter.attributes["knativeerrordata"]) == bytes(1024)


def test_a_second_dead_letter_tells_nothing_of_the_first() -> None:
    first = dead_letter(EVENT, "default/orders", WHY)

    second = dead_letter(
        first, "default/other", replace(WHY, status=None, body=b"", reason="connection refused")
    )

    assert second == dead_letter(
        EVENT, "default/other", replace(WHY, status=None, body=b"", reason="connection refused")
    )


@given(reason=st.text(), destination=st.text(), body=st.binary(max_size=3000))
def test_a_dead_letter_is_a_valid_event_whatever_the_reason_holds(
    reason: str, destination: str, body: bytes
) -> None:
    why = replace(WHY, reason=reason, destination=destination, body=body)

    letter = dead_letter(EVENT, "default/orders", why)

    Event.checked(letter.attributes, letter.data, letter.kinds)
