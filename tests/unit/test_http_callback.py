"""Consent that a subscriber gives later, by calling back (WebHook 1.0.2, section 4.1.3)."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from broker.callbacks import Callbacks
from broker.errors import CemeshError
from broker.event import Event
from broker.policy import Consent, Network
from broker.ports import Accepted, Answer, Refused, Sink, SinkOptions
from broker.trigger import Target
from sinks.http import HttpSinks
from tests.services.subscribers import Request, Script, Subscriber, after, reply

EVENT = Event.checked({"specversion": "1.0", "id": "1", "source": "/orders", "type": "placed"})
MESH = "https://mesh.example.com/base"
DAY = 24 * 60 * 60


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
def callbacks() -> Callbacks:
    return Callbacks()


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    """Return a server that answers OPTIONS, and consents to nothing thereby."""
    async with Subscriber() as running:
        running.answers("/", withholding)
        yield running


@pytest.fixture
async def sinks() -> AsyncIterator[HttpSinks]:
    async with HttpSinks() as entered:
        yield entered


def withholding(request: Request) -> int:
    return 204 if request.method == "OPTIONS" else 200


def asking(sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks | None) -> Sink:
    options = SinkOptions(
        namespace="shop",
        timeout=timedelta(seconds=10),
        consent=Consent(origin="mesh.example.com", callback=MESH),
        network=Network(loopback=True),
        callbacks=callbacks,
    )
    return sinks.sink(Target(url=subscriber.url()), options)


def path_told(subscriber: Subscriber) -> str:
    """Return the path by which the subscriber was last told to call back."""
    asked = [each for each in subscriber.received if each.method == "OPTIONS"][-1]
    return (asked.header("webhook-request-callback") or "").removeprefix(MESH)


def call_back(callbacks: Callbacks, path: str, rate: bytes | None = None) -> str | None:
    consenting = callbacks.at(path)
    assert consenting is not None
    return consenting.take(rate)


def methods(subscriber: Subscriber) -> list[str]:
    return [each.method for each in subscriber.received]


def refused(answer: Answer) -> Refused:
    assert isinstance(answer, Refused)
    return answer


async def test_whoever_is_asked_is_told_a_url_that_nobody_guesses(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks
) -> None:
    paths = []
    for _ in range(2):
        await asking(sinks, subscriber, callbacks).attempt(EVENT)
        paths.append(path_told(subscriber))

    assert all(re.fullmatch(r"/webhooks/consent/[A-Za-z0-9_-]{43}", each) for each in paths)
    assert paths[0] != paths[1]


async def test_events_go_out_once_the_subscriber_has_called_back(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks
) -> None:
    sink = asking(sinks, subscriber, callbacks)

    before = refused(await sink.attempt(EVENT))
    fault = call_back(callbacks, path_told(subscriber))
    answers = [await sink.attempt(EVENT), await sink.attempt(EVENT)]

    assert before.untried
    assert fault is None
    assert answers == [Accepted()] * 2
    assert methods(subscriber) == ["OPTIONS", "POST", "POST"]


async def test_a_consent_that_overtakes_the_answer_is_taken_all_the_same(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks
) -> None:
    called = asyncio.Event()

    def answer(request: Request) -> int | Script:
        return after(called, reply(204)) if request.method == "OPTIONS" else 200

    subscriber.answers("/", answer)
    attempt = asyncio.create_task(asking(sinks, subscriber, callbacks).attempt(EVENT))
    await subscriber.received_at("/")
    call_back(callbacks, path_told(subscriber))
    called.set()

    assert await attempt == Accepted()


async def test_the_rate_that_is_called_back_with_is_kept(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks
) -> None:
    sink = asking(sinks, subscriber, callbacks)
    await sink.attempt(EVENT)

    call_back(callbacks, path_told(subscriber), b"1")
    answers = [await sink.attempt(EVENT), await sink.attempt(EVENT)]

    assert answers[0] == Accepted()
    assert "1 a minute, is used up" in refused(answers[1]).reason


@pytest.mark.parametrize("rate", [b"", b"0", b"-1", b"often"])
async def test_a_rate_that_is_none_is_no_consent(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks, rate: bytes
) -> None:
    sink = asking(sinks, subscriber, callbacks)
    await sink.attempt(EVENT)

    fault = call_back(callbacks, path_told(subscriber), rate)

    assert "WebHook-Allowed-Rate is neither * nor a positive whole number" in (fault or "")
    assert refused(await sink.attempt(EVENT)).untried


async def test_however_seldom_it_is_asked_events_go_out_within_seconds_of_the_call(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks, clock: Clock
) -> None:
    sink = asking(sinks, subscriber, callbacks)

    waits = []
    for hundreds in (0, 10, 20, 30, 40, 50, 60, 70, 71, 72):  # of seconds
        clock.ahead = hundreds * 100
        waits.append(refused(await sink.attempt(EVENT)).retry_after)

    assert all(each is not None and each <= timedelta(seconds=5) for each in waits)
    assert methods(subscriber) == ["OPTIONS"] * 8


async def test_consent_by_callback_has_to_be_given_again_in_time(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks, clock: Clock
) -> None:
    sink = asking(sinks, subscriber, callbacks)
    await sink.attempt(EVENT)
    path = path_told(subscriber)
    call_back(callbacks, path)

    clock.ahead = DAY + 60
    asked_again = await sink.attempt(EVENT)
    await subscriber.received_at("/", 3)
    call_back(callbacks, path)
    clock.ahead = 2 * DAY
    given_again = await sink.attempt(EVENT)
    clock.ahead = 3 * DAY
    ended = await sink.attempt(EVENT)

    assert (asked_again, given_again) == (Accepted(), Accepted())
    assert refused(ended).untried


async def test_who_is_not_asked_for_any_more_cannot_be_called_back_for(
    sinks: HttpSinks, subscriber: Subscriber, callbacks: Callbacks
) -> None:
    sink = asking(sinks, subscriber, callbacks)
    await sink.attempt(EVENT)
    path = path_told(subscriber)
    del sink
    gc.collect()

    assert callbacks.at(path) is None


def test_where_nobody_can_call_back_it_is_said_so(sinks: HttpSinks) -> None:
    options = SinkOptions(
        namespace="shop",
        timeout=timedelta(seconds=10),
        consent=Consent(origin="mesh.example.com", callback=MESH),
    )

    with pytest.raises(CemeshError, match=r"^https://hooks\.example\.com/ .*: `cemesh run`$"):
        sinks.sink(Target(url="https://hooks.example.com/"), options)
