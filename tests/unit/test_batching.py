"""Several events in one request: what goes out together, and which of it is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from broker.event import Event
from broker.mesh import Mesh
from broker.policy import Batch, Breaker, Network, Signing
from broker.ports import Accepted, Answer, BatchSink, Refused, SinkOptions
from broker.trigger import Desired, Target
from delivery.batching import Batching
from sinks.http import HttpSinks
from tests.services.subscribers import Request, Script, Subscriber, after, reply
from tests.unit.meshes import BROKER, NO_WAIT, Store, install, make_mesh, make_trigger, until

SOON = timedelta(milliseconds=50)
LATE = timedelta(seconds=30)
OPTIONS = SinkOptions(
    namespace="default", timeout=timedelta(seconds=10), network=Network(loopback=True)
)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


@asynccontextmanager
async def batching(
    subscriber: Subscriber, batch: Batch, *, at_once: int = 10, options: SinkOptions = OPTIONS
) -> AsyncIterator[Batching]:
    async with HttpSinks() as sinks:
        sink = sinks.sink(Target(url=subscriber.url("/")), options)
        yield Batching(cast("BatchSink", sink).attempt_together, batch, at_once=at_once)


def event(id: str, data: bytes | None = None) -> Event:
    attributes = {"specversion": "1.0", "id": id, "source": "/tests", "type": "com.example.thing"}
    return Event(attributes, data)


def ids(request: Request) -> list[str]:
    return [each["id"] for each in json.loads(request.body)]


async def attempts(sink: Batching, *names: str) -> Sequence[Answer]:
    return await asyncio.gather(*(sink.attempt(event(name)) for name in names))


def refusing(*bad: str, status: int = 400) -> Callable[[Request], int | Script]:
    return lambda request: status if set(bad) & set(ids(request)) else 200


# --- what goes out together ----------------------------------------------------------------


async def test_a_batch_goes_out_as_soon_as_it_is_full(subscriber: Subscriber) -> None:
    async with batching(subscriber, Batch(max_events=3, max_wait=LATE)) as sink:
        async with asyncio.timeout(30):
            answers = await attempts(sink, "1", "2", "3", "4", "5", "6")

    assert answers == [Accepted()] * 6
    # One does not wait for the other, so that either may arrive first.
    assert sorted(map(ids, subscriber.received)) == [["1", "2", "3"], ["4", "5", "6"]]
    types = {each.header("content-type") for each in subscriber.received}
    assert types == {"application/cloudevents-batch+json"}


async def test_what_does_not_fill_one_goes_out_after_a_while(subscriber: Subscriber) -> None:
    async with batching(subscriber, Batch(max_events=100, max_wait=SOON)) as sink:
        answers = await attempts(sink, "1", "2")

    assert answers == [Accepted()] * 2
    assert [ids(each) for each in subscriber.received] == [["1", "2"]]


async def test_a_batch_is_no_larger_than_it_may_be_unless_one_event_is(
    subscriber: Subscriber,
) -> None:
    payload = b'"' + b"x" * 1000 + b'"'
    async with batching(subscriber, Batch(max_bytes=2500, max_wait=SOON)) as sink:
        await asyncio.gather(
            sink.attempt(event("1", payload)),
            sink.attempt(event("2", payload)),
            sink.attempt(event("3", payload)),
            sink.attempt(event("large", payload * 5)),
            sink.attempt(event("4", payload)),
        )

    sent = sorted(ids(each) for each in subscriber.received)
    assert sent == [["1", "2"], ["3"], ["4"], ["large"]]


async def test_no_more_requests_are_under_way_than_may_be(subscriber: Subscriber) -> None:
    answer = asyncio.Event()
    subscriber.answers("/", lambda _: after(answer, 200))
    async with batching(subscriber, Batch(max_events=1), at_once=2) as sink:
        attempting = asyncio.gather(*(sink.attempt(event(str(each))) for each in range(5)))
        await subscriber.received_at("/", 2)
        assert len(subscriber.received) == 2
        answer.set()
        await attempting

    assert len(subscriber.received) == 5


async def test_a_batch_is_signed_as_a_whole(subscriber: Subscriber) -> None:
    signing = Signing(keys=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))
    options = replace(OPTIONS, signing=signing)
    async with batching(subscriber, Batch(max_events=2), options=options) as sink:
        await attempts(sink, "1", "2")
        await attempts(sink, "2", "3")

    first, second = subscriber.received
    assert str(first.header("webhook-signature")).startswith("v1,")
    assert first.header("webhook-id") != second.header("webhook-id")


# --- what is refused -----------------------------------------------------------------------


async def test_one_bad_event_does_not_condemn_the_others(subscriber: Subscriber) -> None:
    subscriber.answers_as_told("/", refusing("5"))
    names = [str(each) for each in range(8)]
    async with batching(subscriber, Batch(max_events=8)) as sink:
        answers = await attempts(sink, *names)

    assert [each for each, answer in zip(names, answers, strict=True) if answer != Accepted()] == [
        "5"
    ]
    refused = answers[5]
    assert isinstance(refused, Refused)
    assert refused.status == 400
    assert [ids(each) for each in subscriber.received] == [
        ["0", "1", "2", "3", "4", "5", "6", "7"],
        ["0", "1", "2", "3"],
        ["4", "5", "6", "7"],
        ["4", "5"],
        ["4"],
        ["5"],
        ["6", "7"],
    ]


async def test_a_batch_that_is_too_large_for_the_subscriber_is_split(
    subscriber: Subscriber,
) -> None:
    subscriber.answers_as_told("/", lambda request: 413 if len(ids(request)) > 2 else 200)
    async with batching(subscriber, Batch(max_events=7)) as sink:
        answers = await attempts(sink, *"1234567")

    assert answers == [Accepted()] * 7


@pytest.mark.parametrize("status", [503, 429, 404])
async def test_a_failure_that_may_pass_is_that_of_each_event_and_splits_nothing(
    subscriber: Subscriber, status: int
) -> None:
    subscriber.answers("/", lambda _: reply(status, {"Retry-After": "7"}))
    async with batching(subscriber, Batch(max_events=3)) as sink:
        answers = await attempts(sink, "1", "2", "3")

    assert [each.status for each in answers if isinstance(each, Refused)] == [status] * 3
    assert len(subscriber.received) == 1


async def test_a_reply_is_one_event_s_alone(subscriber: Subscriber) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "r",
        "ce-source": "/subscriber",
        "ce-type": "com.example.reply",
    }
    subscriber.answers("/", lambda _: reply(200, headers))
    async with batching(subscriber, Batch(max_events=3)) as sink:
        answers = await attempts(sink, "1", "2", "3")

    replies = [
        each.reply.id if each.reply else None for each in answers if isinstance(each, Accepted)
    ]
    assert replies == ["r", None, None]


async def test_who_waits_for_a_batch_that_is_broken_off_has_made_no_attempt(
    subscriber: Subscriber,
) -> None:
    async with batching(subscriber, Batch(max_events=3, max_wait=LATE)) as sink:
        first = asyncio.create_task(sink.attempt(event("1")))
        other = asyncio.create_task(sink.attempt(event("2")))
        await asyncio.sleep(0)
        first.cancel()
        answer = await other
        later = await attempts(sink, "3", "4", "5")

    assert isinstance(answer, Refused)
    assert answer.untried
    assert later == [Accepted()] * 3
    assert [ids(each) for each in subscriber.received] == [["3", "4", "5"]]


# --- in the mesh ---------------------------------------------------------------------------


async def test_a_trigger_delivers_in_batches_and_buries_what_is_refused_alone(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, store=Store())
    failed = iter([503])
    subscriber.answers_as_told(
        "/", lambda request: next(failed, 0) or refusing("13", status=422)(request)
    )
    policy = replace(NO_WAIT, batch=Batch(max_events=10, max_wait=SOON))
    trigger = make_trigger("orders", subscriber.url("/"), delivery=policy, parallelism=2)
    async with make_mesh() as mesh:
        await mesh.apply(Desired(brokers={BROKER.key: BROKER}, triggers={trigger.key: trigger}))
        channel = mesh.channel(BROKER.key)
        await channel.append([event(str(each)) for each in range(100)])
        await all_done(mesh, trigger.key)

        [letter] = await channel.dead_letters.list()
        books = (await channel.books())[trigger.key]
    assert (letter.event.id, letter.why.status) == ("13", 422)
    assert (books.delivered, books.dead_lettered, books.unaccounted) == (99, 1, 0)
    assert len(subscriber.received) < 40


async def test_a_batch_that_fails_is_one_failure_of_the_subscriber(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, store=Store())
    subscriber.answers("/", [503, 503, 200])
    policy = replace(
        NO_WAIT,
        batch=Batch(max_events=10, max_wait=SOON),
        breaker=Breaker(failures=3, pause=timedelta(minutes=1)),
    )
    trigger = make_trigger("orders", subscriber.url("/"), delivery=policy, parallelism=1)
    async with make_mesh() as mesh:
        await mesh.apply(Desired(brokers={BROKER.key: BROKER}, triggers={trigger.key: trigger}))
        await mesh.channel(BROKER.key).append([event(str(each)) for each in range(10)])
        await all_done(mesh, trigger.key)

    assert len(subscriber.received) == 3


async def test_of_a_batch_that_finds_the_subscriber_gone_one_event_counts_an_attempt(
    subscriber: Subscriber,
) -> None:
    subscriber.answers("/", [410])
    async with batching(subscriber, Batch(max_events=3, max_wait=LATE)) as sink:
        first, *others = await attempts(sink, "1", "2", "3")

    assert isinstance(first, Refused)
    assert (first.status, first.untried) == (410, False)
    assert all(isinstance(each, Refused) and each.untried for each in others)
    assert len(subscriber.received) == 1


async def test_a_batch_that_finds_the_subscriber_gone_costs_one_event_and_the_others_wait(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, store=Store())
    subscriber.answers("/", [410, 200])
    policy = replace(NO_WAIT, batch=Batch(max_events=10, max_wait=SOON))
    trigger = make_trigger("orders", subscriber.url("/"), delivery=policy, parallelism=1)
    async with make_mesh() as mesh:
        await mesh.apply(Desired(brokers={BROKER.key: BROKER}, triggers={trigger.key: trigger}))
        channel = mesh.channel(BROKER.key)
        await channel.append([event(str(each)) for each in range(10)])
        await until(lambda: mesh._triggers[trigger.key].gate.state.phase == "paused")
        requests_until_resumed = len(subscriber.received)
        await mesh.resume(trigger.key)
        await all_done(mesh, trigger.key)

        [letter] = await channel.dead_letters.list()
        books = (await channel.books())[trigger.key]
    assert requests_until_resumed == 1
    assert (letter.event.id, letter.why.status) == ("0", 410)
    assert (books.delivered, books.dead_lettered) == (9, 1)
    delivered = [each for request in subscriber.received[1:] for each in ids(request)]
    assert sorted(delivered) == [str(each) for each in range(1, 10)]


async def all_done(mesh: Mesh, trigger: str) -> None:
    async with asyncio.timeout(30):
        while (await mesh.channel(BROKER.key).books())[trigger].waiting:
            await asyncio.sleep(0.005)


async def test_what_is_under_way_in_batches_is_finished_when_the_mesh_stops(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    install(monkeypatch, store=store)
    policy = replace(NO_WAIT, batch=Batch(max_events=50, max_wait=SOON))
    trigger = make_trigger("orders", subscriber.url("/"), delivery=policy, parallelism=2)
    async with make_mesh() as mesh:
        await mesh.apply(Desired(brokers={BROKER.key: BROKER}, triggers={trigger.key: trigger}))
        await mesh.channel(BROKER.key).append([event(str(each)) for each in range(10)])
        await until(lambda: mesh._triggers[trigger.key].in_flight == 10)

    assert sorted(ids(subscriber.received[0]), key=int) == [str(each) for each in range(10)]
