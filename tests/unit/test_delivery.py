from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ChannelFull
from broker.event import Event
from broker.policy import Limits
from broker.ports import (
    Accepted,
    Answer,
    Attempt,
    Buried,
    Claim,
    Deferred,
    Ended,
    Origin,
    Outcome,
    Refusal,
    Refused,
    Settled,
    Sink,
    Told,
    Underway,
    Verdict,
    Watcher,
)
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.deadletter import dead_letter
from delivery.delivery import Delivery
from delivery.verdicts import judge, tells_of_outage
from tests.watching import Noting

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
    watch = Noting()
    delivery = Delivery(
        TRIGGER,
        subscriber=Buggy(),
        dead_letter=Accepting(),
        emit=unreachable_emit,
        watch=watch,
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
    refused = watch.attempts[0].answer
    assert isinstance(refused, Refused)
    assert refused.reason == "the sink raised ZeroDivisionError: oh no"
    assert caplog.records[0].exc_info is not None


class Begun:
    def cancel(self) -> None:
        raise AssertionError("nothing is broken off here")


class Prompt(Accepting):
    """Tells of an attempt, as soon as the loop comes to it, what it is given; raises an error."""

    def __init__(self, told: Told | Exception) -> None:
        self._told = told

    def begin(self, event: Event, done: Callable[[Told], None]) -> Underway:
        if isinstance(self._told, Exception):
            raise self._told
        asyncio.get_running_loop().call_soon(done, self._told)
        return Begun()


def prompt(
    sink: Sink,
    *,
    trigger: Trigger = TRIGGER,
    watch: Watcher,
    heard: Callable[[Claim, Answer], None] = lambda claim, answer: None,
) -> Delivery:
    return Delivery(
        trigger,
        subscriber=sink,
        dead_letter=Accepting(),
        emit=unreachable_emit,
        watch=watch,
        heard=heard,
    )


def new_claim(*, condemned: Refusal | None = None) -> Claim:
    return Claim(
        event=EVENT, attempts=0, condemned=condemned, accepted_at=datetime.now(UTC), position=None
    )


async def begun(delivery: Delivery) -> Ended:
    ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
    assert delivery.begin(new_claim(), ended.set_result) is not None
    return await ended


async def refused_later() -> Answer:
    return Refused(reason="503 Service Unavailable", status=503)


async def failing_later() -> Answer:
    raise ZeroDivisionError("oh no")


async def test_an_attempt_that_is_accepted_is_told_of_once_and_takes_no_task() -> None:
    watch = Noting()
    heard: list[Answer] = []
    delivery = prompt(Prompt(Accepted()), watch=watch, heard=lambda _, answer: heard.append(answer))

    assert await begun(delivery) == Settled(outcome=Outcome.DELIVERED)
    assert [(each.number, each.verdict) for each in watch.attempts] == [(1, Verdict.DELIVERED)]
    assert heard == [Accepted()]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Refused(reason="connection refused"), "connection refused"),
        (refused_later, "503 Service Unavailable"),
        (failing_later, "the sink raised ZeroDivisionError: oh no"),
    ],
    ids=["refused", "refused later", "raises later"],
)
async def test_an_attempt_that_is_refused_after_it_was_begun_is_one_attempt(
    told: Told, reason: str
) -> None:
    watch = Noting()
    heard: list[Answer] = []
    delivery = prompt(Prompt(told), watch=watch, heard=lambda _, answer: heard.append(answer))

    more = await begun(delivery)
    assert watch.attempts == []
    assert callable(more)
    step = await more()

    assert isinstance(step, Deferred)
    (attempt,) = watch.attempts
    assert isinstance(attempt.answer, Refused)
    assert (attempt.number, attempt.answer.reason) == (1, reason)
    assert heard == [attempt.answer]


async def test_a_sink_that_raises_when_it_is_to_begin_is_asked_again_for_the_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Noting()
    delivery = prompt(Prompt(ZeroDivisionError("oh no")), watch=watch)

    assert delivery.begin(new_claim(), lambda _: None) is None
    assert await delivery.step(new_claim()) == Settled(outcome=Outcome.DELIVERED)

    assert len(watch.attempts) == 1
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("who", ["who watches", "who hears"])
async def test_who_watches_and_raises_is_not_passed_over(who: str) -> None:
    heard: list[Answer] = []

    def watching(_: Attempt) -> None:
        if who == "who watches":
            raise ZeroDivisionError

    def hear(_: Claim, answer: Answer) -> None:
        heard.append(answer)
        if who == "who hears":
            raise ZeroDivisionError

    more = await begun(prompt(Prompt(Accepted()), watch=Noting(on_attempt=watching), heard=hear))

    assert callable(more)
    with pytest.raises(ZeroDivisionError):
        await more()
    assert len(heard) == 1


async def test_what_takes_more_than_the_subscribers_answer_is_not_begun() -> None:
    aging = replace(TRIGGER.delivery, limits=Limits(max_age=timedelta(days=1)))
    sink, watch = Prompt(Accepted()), Noting()
    old = prompt(sink, trigger=replace(TRIGGER, delivery=aging), watch=watch)
    condemned = prompt(sink, watch=watch)
    plain = prompt(Accepting(), watch=watch)

    long_ago = replace(new_claim(), accepted_at=datetime.now(UTC) - timedelta(days=2))
    assert old.begin(long_ago, lambda _: None) is None
    assert condemned.begin(new_claim(condemned=WHY), lambda _: None) is None
    assert plain.begin(new_claim(), lambda _: None) is None


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


class Replying:
    async def attempt(self, event: Event) -> Answer:
        return Accepted(reply=replace(event, data=b"the reply"))


class TakingReplies:
    """A destination of replies, which answers in turn."""

    def __init__(self, *answers: Answer) -> None:
        self.taken: list[Event] = []
        self._answers = list(answers)

    async def attempt(self, event: Event) -> Answer:
        self.taken.append(event)
        return self._answers.pop(0)


REPLYING = replace(
    TRIGGER,
    delivery=replace(TRIGGER.delivery, reply=Target(url="http://user:secret@replies.test/")),
)


async def test_a_reply_goes_where_replies_go_and_the_delivery_is_done_once_it_is_taken() -> None:
    replies = TakingReplies(Refused(reason="down"), Accepted(reply=EVENT))
    watch = Noting()
    delivery = Delivery(
        REPLYING,
        subscriber=Replying(),
        dead_letter=None,
        emit=unreachable_emit,
        reply=replies,
        watch=watch,
    )
    claim = Claim(
        event=EVENT, attempts=0, condemned=None, accepted_at=datetime.now(UTC), position=None
    )

    first = await delivery.step(claim)
    second = await delivery.step(replace(claim, attempts=1))

    assert isinstance(first, Deferred)
    assert isinstance(second, Settled)
    assert second.outcome is Outcome.DELIVERED
    assert replies.taken == [replace(EVENT, data=b"the reply", hops=EVENT.hops + 1)] * 2
    refused = watch.attempts[0].answer
    assert isinstance(refused, Refused)
    assert refused.reason == "the reply was not taken by http://replies.test/: down"


async def test_a_reply_that_will_never_be_taken_ends_the_delivery() -> None:
    delivery = Delivery(
        REPLYING,
        subscriber=Replying(),
        dead_letter=None,
        emit=unreachable_emit,
        reply=TakingReplies(Refused(reason="no", permanent=True)),
    )
    claim = Claim(
        event=EVENT, attempts=0, condemned=None, accepted_at=datetime.now(UTC), position=None
    )

    buried = await delivery.step(claim)

    assert isinstance(buried, Buried)
    assert buried.why.reason == "the reply was not taken by http://replies.test/: no"


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


async def test_those_who_watch_are_told_of_a_reply_and_what_it_is_to() -> None:
    watch, stored = Noting(), list[Event]()

    async def emit(events: Sequence[Event]) -> None:
        assert watch.stored == []
        stored.extend(events)

    delivery = Delivery(TRIGGER, subscriber=Replying(), dead_letter=None, emit=emit, watch=watch)

    await delivery.step(new_claim())

    (reply,) = stored
    origin = Origin("reply", TRIGGER.key, cause=(EVENT.source, EVENT.id))
    assert watch.stored == [(TRIGGER.broker, reply, origin)]
    assert [each.event for each in watch.attempts] == [EVENT]


@pytest.mark.parametrize(
    ("answer", "number", "exhausted"),
    [
        (Refused(reason="down"), 1, False),
        (Refused(reason="down"), 2, True),
        (Refused(reason="no leave", untried=True), 2, False),
        (Refused(reason="no", status=400), 2, False),
        (Accepted(), 2, False),
    ],
)
async def test_those_who_watch_are_told_which_attempt_is_the_last_that_the_policy_has(
    answer: Answer, number: int, exhausted: bool
) -> None:
    watch = Noting()
    delivery = Delivery(
        TRIGGER,
        subscriber=TakingReplies(answer),
        dead_letter=TakingReplies(Accepted()),
        emit=unreachable_emit,
        watch=watch,
    )

    await delivery.step(replace(new_claim(), attempts=number - 1))

    first = watch.attempts[0]
    assert (first.to, first.number, first.exhausted) == ("subscriber", number, exhausted)
