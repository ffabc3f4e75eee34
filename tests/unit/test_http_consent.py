from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from broker.event import Event
from broker.policy import Breaker, Consent, Credentials, Network, OAuth2, Signing
from broker.ports import Accepted, Answer, Claim, Deferred, Refused, Sink, SinkOptions
from broker.status import RUNNING
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.admission import Admission
from delivery.delivery import Delivery
from sinks.http import HttpSinks
from sinks.http.consent import Pace
from sinks.http.grants import NotGranted
from tests.services.subscribers import Answering, Request, Script, Subscriber, after, hang, reply

SOON = timedelta(minutes=1)
EVENT = Event.checked({"specversion": "1.0", "id": "1", "source": "/orders", "type": "placed"})
ORIGIN = "mesh.example.com"


@dataclass
class Clock:
    """The time that consent lasts in: the real one, and what a test puts forward."""

    ahead: float = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sinks.http.grants.now", clock.now)
    monkeypatch.setattr("sinks.http.consent.now", clock.now)
    return clock


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def sinks() -> AsyncIterator[HttpSinks]:
    async with HttpSinks() as entered:
        yield entered


def asking(
    sinks: HttpSinks,
    subscriber: Subscriber,
    *,
    timeout: timedelta = SOON,
    rate: int | None = None,
    credentials: Credentials = Credentials(),
    signing: Signing | None = None,
) -> Sink:
    options = SinkOptions(
        namespace="shop",
        timeout=timeout,
        consent=Consent(origin=ORIGIN, rate=rate),
        credentials=credentials,
        signing=signing,
        network=Network(loopback=True),
    )
    return sinks.sink(Target(url=subscriber.url("/a?b=c")), options)


def consenting(*answers: int | Script, events: int = 200) -> Answering:
    """Answer OPTIONS with these in turn, and with the last from then on; events with a status."""
    left = list(answers)

    def answer(request: Request) -> int | Script:
        if request.method != "OPTIONS":
            return events
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def allowed(origin: str = ORIGIN, rate: str | None = None, *, status: int = 200) -> Script:
    rates = {} if rate is None else {"WebHook-Allowed-Rate": rate}
    return reply(status, {"WebHook-Allowed-Origin": origin, **rates})


def granting(token: str) -> Script:
    return reply(200, {}, b'{"access_token": "%s", "token_type": "bearer"}' % token.encode())


def methods(subscriber: Subscriber) -> list[str]:
    return [each.method for each in subscriber.received]


def refused(answer: Answer) -> Refused:
    assert isinstance(answer, Refused)
    return answer


# --- asking --------------------------------------------------------------------------------


async def test_the_subscriber_is_asked_once_before_the_first_delivery(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed()))
    sink = asking(sinks, subscriber)

    answers = [await sink.attempt(EVENT), await sink.attempt(EVENT)]

    assert answers == [Accepted()] * 2
    assert methods(subscriber) == ["OPTIONS", "POST", "POST"]
    assert subscriber.received[0].head == (
        b"OPTIONS /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"WebHook-Request-Origin: mesh.example.com\r\n\r\n" % subscriber.port
    )


async def test_every_delivery_says_from_where_it_comes(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed()))

    await asking(sinks, subscriber).attempt(EVENT)

    assert subscriber.received[1].header("webhook-request-origin") == ORIGIN


async def test_the_rate_that_the_trigger_keeps_to_is_asked_for(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed()))

    await asking(sinks, subscriber, rate=120).attempt(EVENT)

    (asked, event) = subscriber.received
    assert asked.header("webhook-request-rate") == "120"
    assert event.header("webhook-request-rate") is None


async def test_whoever_is_only_asked_gets_no_credentials_yet(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(405))
    credentials = Credentials(
        headers={"X-Api-Key": "k"},
        oauth2=OAuth2(
            token_url=subscriber.url("/token"), client_id="mesh", client_secret="c0nfidential"
        ),
    )

    await asking(sinks, subscriber, credentials=credentials).attempt(EVENT)

    (asked,) = subscriber.received
    assert {name for name, _ in asked.headers} == {"Host", "WebHook-Request-Origin"}


async def test_however_many_deliveries_wait_there_is_one_question(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    asked = asyncio.Event()
    subscriber.answers("/a?b=c", consenting(after(asked, allowed())))
    sink = asking(sinks, subscriber)

    async with asyncio.TaskGroup() as attempts:
        for _ in range(20):
            attempts.create_task(sink.attempt(EVENT))
        await subscriber.received_at("/a?b=c")
        asked.set()

    assert methods(subscriber) == ["OPTIONS", *["POST"] * 20]


async def test_consent_is_asked_for_again_after_a_day_while_deliveries_go_on(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(), 405))
    sink = asking(sinks, subscriber)
    await sink.attempt(EVENT)

    clock.ahead = timedelta(hours=23).total_seconds()
    await sink.attempt(EVENT)
    clock.ahead = timedelta(hours=25).total_seconds()
    answer = await sink.attempt(EVENT)
    await subscriber.received_at("/a?b=c", 5)

    assert answer == Accepted()
    assert sorted(methods(subscriber)) == ["OPTIONS", "OPTIONS", "POST", "POST", "POST"]


async def test_consent_that_is_not_renewed_ends(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(), 405))
    sink = asking(sinks, subscriber)
    await sink.attempt(EVENT)

    clock.ahead = timedelta(hours=31).total_seconds()

    assert "does not consent" in refused(await sink.attempt(EVENT)).reason
    assert methods(subscriber) == ["OPTIONS", "POST", "OPTIONS"]


# --- what is consent, and what is none -----------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 405, 500])
@pytest.mark.parametrize("origin", [ORIGIN, "*", "MESH.example.com"])
async def test_it_is_the_allowed_origin_that_counts_whatever_the_status(
    sinks: HttpSinks, subscriber: Subscriber, origin: str, status: int
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(origin, status=status)))

    assert await asking(sinks, subscriber).attempt(EVENT) == Accepted()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply(200), "answered OPTIONS with 200 OK and no WebHook-Allowed-Origin"),
        (reply(404), "answered OPTIONS with 404 Not Found and no WebHook-Allowed-Origin"),
        (reply(405), "with 405 Method Not Allowed and no WebHook-Allowed-Origin"),
        (allowed("other.example.com"), "with 200 OK and another WebHook-Allowed-Origin"),
        (allowed("mesh.example.com.evil.test"), "another WebHook-Allowed-Origin"),
        (allowed(""), "another WebHook-Allowed-Origin"),
        (allowed("*, *"), "another WebHook-Allowed-Origin"),
        (allowed(rate="0"), "its WebHook-Allowed-Rate is neither"),
        (allowed(rate="-1"), "its WebHook-Allowed-Rate is neither"),
        (allowed(rate="often"), "its WebHook-Allowed-Rate is neither"),
        (reply(301, {"Location": "/b"}), "with 301 Moved Permanently and no"),
    ],
)
async def test_without_consent_nothing_is_sent_and_the_event_waits(
    sinks: HttpSinks, subscriber: Subscriber, answer: Script, why: str
) -> None:
    subscriber.answers("/a?b=c", consenting(answer))

    told = refused(await asking(sinks, subscriber).attempt(EVENT))

    assert why in told.reason
    assert (told.status, told.untried) == (None, True)
    assert methods(subscriber) == ["OPTIONS"]


async def test_a_subscriber_that_does_not_consent_is_asked_at_a_calm_pace(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/a?b=c", consenting(405))
    sink = asking(sinks, subscriber)
    waits = []

    for _ in range(10):
        told = refused((await asyncio.gather(*(sink.attempt(EVENT) for _ in range(20))))[-1])
        assert told.retry_after is not None
        waits.append(round(told.retry_after.total_seconds()))
        clock.ahead += told.retry_after.total_seconds()

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert methods(subscriber) == ["OPTIONS"] * 10


async def test_events_go_out_once_the_subscriber_consents(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/a?b=c", consenting(405, allowed()))
    sink = asking(sinks, subscriber)
    await sink.attempt(EVENT)

    clock.ahead = 6

    assert await sink.attempt(EVENT) == Accepted()


async def test_a_subscriber_that_does_not_answer_the_question_is_tried_again(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(hang()))
    hasty = asking(sinks, subscriber, timeout=timedelta(seconds=0.2))

    told = refused(await hasty.attempt(EVENT))

    reason = "no answer within 0.2 s: waiting for the subscriber's consent"
    assert told == Refused(reason=reason, untried=True)


async def test_a_subscriber_that_is_not_there_cannot_be_asked(sinks: HttpSinks) -> None:
    async with Subscriber() as gone:
        pass

    told = refused(await asking(sinks, gone).attempt(EVENT))

    assert told.reason == "the subscriber was asked for consent: connection refused"
    assert told.untried


async def test_waiting_for_consent_uses_up_no_attempts_of_an_event(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(405))
    delivery = Delivery(
        trigger(retry=0),
        subscriber=asking(sinks, subscriber),
        dead_letter=None,
        emit=_nowhere,
    )

    step = await delivery.step(claim(attempts=0))

    assert isinstance(step, Deferred)
    assert (step.attempts, step.condemned) == (0, None)
    assert step.delay > timedelta(seconds=4)


def test_waiting_for_consent_is_no_failure_of_the_subscriber() -> None:
    admission = Admission(trigger(retry=0, failures=1), share=lambda: 1.0)
    waiting = Refused(reason="no consent", untried=True)

    for now in range(5):
        each = claim()
        admission.begin(each, now)
        admission.heard(each, waiting, now)
        admission.end(each)

    assert admission.state(5) == RUNNING


def test_waiting_for_consent_does_not_end_a_pause() -> None:
    admission = Admission(trigger(retry=0, failures=1), share=lambda: 1.0)
    first, second = claim(), claim()
    admission.begin(first, 0)
    admission.heard(first, Refused(reason="connection refused"), 0)
    admission.end(first)

    admission.begin(second, 6)
    admission.heard(second, Refused(reason="no consent", untried=True), 6)
    admission.end(second)

    assert admission.state(6).phase == "probing"


def trigger(*, retry: int, failures: int = 20) -> Trigger:
    return Trigger(
        key="shop/orders",
        broker="shop/default",
        subscriber=Target(url="http://127.0.0.1/"),
        delivery=DeliveryPolicy(retry=retry, breaker=Breaker(failures=failures)),
    )


def claim(attempts: int = 0) -> Claim:
    now = datetime.now(UTC)
    return Claim(event=EVENT, attempts=attempts, condemned=None, position=None, accepted_at=now)


async def _nowhere(_: Sequence[Event]) -> None:
    raise AssertionError("nothing is to be emitted")


# --- the rate ------------------------------------------------------------------------------


async def test_no_more_is_sent_in_a_minute_than_the_subscriber_allows(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(rate="3")))
    sink = asking(sinks, subscriber)

    answers = await asyncio.gather(*(sink.attempt(EVENT) for _ in range(5)))

    assert [type(each) for each in answers] == [Accepted] * 3 + [Refused] * 2
    told = refused(answers[-1])
    assert told.reason == "the rate that the subscriber allows, 3 a minute, is used up"
    assert told.retry_after is not None
    assert timedelta(seconds=30) < told.retry_after <= timedelta(seconds=60)
    assert (told.status, told.untried) == (None, True)
    clock.ahead = 60
    answers = await asyncio.gather(*(sink.attempt(EVENT) for _ in range(5)))
    assert [type(each) for each in answers] == [Accepted] * 3 + [Refused] * 2
    assert methods(subscriber) == ["OPTIONS", *["POST"] * 6]


async def test_a_delivery_whose_turn_comes_soon_waits_for_it(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(rate="1")))
    sink = asking(sinks, subscriber)
    since = clock.now()  # the minute begins later, with the first delivery
    await sink.attempt(EVENT)
    clock.ahead = 59.5

    answer = await sink.attempt(EVENT)

    assert answer == Accepted()
    assert clock.now() - since >= 60


@pytest.mark.parametrize("rate", ["*", None, "1000001"])
async def test_where_no_rate_is_named_none_is_kept(
    sinks: HttpSinks, subscriber: Subscriber, rate: str | None
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(rate=rate)))
    sink = asking(sinks, subscriber)

    answers = await asyncio.gather(*(sink.attempt(EVENT) for _ in range(50)))

    assert list(answers) == [Accepted()] * 50


async def test_a_rate_that_is_lowered_counts_what_was_sent_before(clock: Clock) -> None:
    pace = Pace()
    pace.per_minute = 3
    for _ in range(3):
        await pace.turn(timedelta())
        clock.ahead += 10

    pace.per_minute = 2
    with pytest.raises(NotGranted) as caught:
        await pace.turn(timedelta(seconds=39))

    assert caught.value.retry_after is not None
    assert round(caught.value.retry_after.total_seconds()) == 40


async def test_a_second_try_with_a_new_token_takes_a_turn_of_its_own(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed(rate="2"), events=401))
    subscriber.answers("/token", [granting("one"), granting("two")])
    oauth2 = OAuth2(token_url=subscriber.url("/token"), client_id="mesh", client_secret="s")
    sink = asking(sinks, subscriber, credentials=Credentials(oauth2=oauth2))
    await sink.attempt(EVENT)

    told = refused(await sink.attempt(EVENT))

    assert told.reason == "the rate that the subscriber allows, 2 a minute, is used up"
    assert not told.untried
    assert [each.path for each in subscriber.received] == [
        *("/a?b=c", "/token", "/a?b=c"),
        *("/a?b=c", "/token"),
    ]


# --- with the rest -------------------------------------------------------------------------


async def test_consent_a_token_and_a_signature_go_together(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/a?b=c", consenting(allowed()))
    subscriber.answers("/token", [granting("one")])
    oauth2 = OAuth2(token_url=subscriber.url("/token"), client_id="mesh", client_secret="s")
    signing = Signing(keys=("whsec_" + "A" * 32,))
    sink = asking(sinks, subscriber, credentials=Credentials(oauth2=oauth2), signing=signing)

    answer = await sink.attempt(EVENT)

    assert answer == Accepted()
    event = subscriber.received[-1]
    assert event.header("webhook-request-origin") == ORIGIN
    assert event.header("authorization") == "Bearer one"
    assert (event.header("webhook-signature") or "").startswith("v1,")
