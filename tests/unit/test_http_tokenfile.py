"""Tokens that something else keeps in a file, as Kubernetes does with those it projects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from broker.event import Event
from broker.policy import Credentials, Network
from broker.ports import Accepted, Answer, Refused, Sink, SinkOptions
from broker.trigger import Target
from sinks.http import HttpSinks
from tests.services.subscribers import Subscriber, after, reply

EVENT = Event.checked({"specversion": "1.0", "id": "1", "source": "/orders", "type": "placed"})


@dataclass
class Clock:
    """The time that tokens last in: the real one, and what a test puts forward."""

    ahead: float = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sinks.http.grants.now", clock.now)
    return clock


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def sinks() -> AsyncIterator[HttpSinks]:
    async with HttpSinks() as entered:
        yield entered


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "billing"
    path.write_text("one\n")
    return path


def sink_with(sinks: HttpSinks, subscriber: Subscriber, file: Path) -> Sink:
    options = SinkOptions(
        namespace="shop",
        timeout=timedelta(seconds=10),
        credentials=Credentials(token_file=str(file)),
        network=Network(loopback=True),
    )
    return sinks.sink(Target(url=subscriber.url("/events")), options)


def tokens_sent(subscriber: Subscriber) -> list[str | None]:
    return [each.header("authorization") for each in subscriber.received]


def refused(answer: Answer) -> Refused:
    assert isinstance(answer, Refused)
    return answer


def put(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


async def test_the_token_in_the_file_goes_as_bearer_authorization(
    sinks: HttpSinks, subscriber: Subscriber, file: Path
) -> None:
    answer = await sink_with(sinks, subscriber, file).attempt(EVENT)

    assert answer == Accepted()
    assert tokens_sent(subscriber) == ["Bearer one"]


async def test_the_file_is_read_again_every_minute_and_no_delivery_waits_for_that(
    sinks: HttpSinks, subscriber: Subscriber, file: Path, clock: Clock
) -> None:
    sink = sink_with(sinks, subscriber, file)
    await sink.attempt(EVENT)
    put(file, "two")

    clock.ahead = 55
    await sink.attempt(EVENT)
    clock.ahead = 61
    async with asyncio.timeout(30):
        while tokens_sent(subscriber)[-1] != "Bearer two":
            await sink.attempt(EVENT)

    assert tokens_sent(subscriber)[:3] == ["Bearer one"] * 3


async def test_a_401_has_the_file_read_again_within_the_same_attempt(
    sinks: HttpSinks, subscriber: Subscriber, file: Path
) -> None:
    subscriber.answers("/events", [200, 401, 200])
    sink = sink_with(sinks, subscriber, file)
    await sink.attempt(EVENT)
    put(file, "two")

    answer = await sink.attempt(EVENT)

    assert answer == Accepted()
    assert tokens_sent(subscriber) == ["Bearer one", "Bearer one", "Bearer two"]


async def test_a_401_is_the_subscribers_word_where_the_file_has_the_same_token_still(
    sinks: HttpSinks, subscriber: Subscriber, file: Path
) -> None:
    subscriber.answers("/events", [200, 401])
    sink = sink_with(sinks, subscriber, file)
    await sink.attempt(EVENT)

    answer = await sink.attempt(EVENT)

    assert refused(answer).status == 401
    assert len(tokens_sent(subscriber)) == 2


async def test_a_token_that_comes_seconds_after_a_401_is_taken_at_the_next(
    sinks: HttpSinks, subscriber: Subscriber, file: Path, clock: Clock
) -> None:
    subscriber.answers("/events", [200, 401, 401, 200])
    sink = sink_with(sinks, subscriber, file)
    await sink.attempt(EVENT)
    await sink.attempt(EVENT)
    put(file, "two")
    clock.ahead = 2

    answer = await sink.attempt(EVENT)

    assert answer == Accepted()
    assert tokens_sent(subscriber) == [*["Bearer one"] * 3, "Bearer two"]


async def test_a_401_has_the_file_read_again_though_it_was_read_meanwhile(
    sinks: HttpSinks, subscriber: Subscriber, file: Path, clock: Clock
) -> None:
    late = asyncio.Event()
    subscriber.answers("/events", [200, after(late, 401), 200, 200])
    sink = sink_with(sinks, subscriber, file)
    await sink.attempt(EVENT)
    attempt = asyncio.create_task(sink.attempt(EVENT))
    await subscriber.received_at("/events", 2)

    clock.ahead = 76
    await sink.attempt(EVENT)
    put(file, "two")
    late.set()

    assert await attempt == Accepted()
    assert tokens_sent(subscriber)[-1] == "Bearer two"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one two", "holds something else than one token"),
        (b"s\xc3\xa9same", "holds something else than one token"),
        (b"x" * 100_000, "cannot be read: it is too large"),
    ],
)
async def test_a_file_without_a_token_is_told_by_its_path_and_tried_again(
    sinks: HttpSinks,
    subscriber: Subscriber,
    tmp_path: Path,
    clock: Clock,
    content: bytes | None,
    why: str,
) -> None:
    file = tmp_path / "billing"
    if content is not None:
        file.write_bytes(content)
    sink = sink_with(sinks, subscriber, file)

    told = refused(await sink.attempt(EVENT))
    put(file, "one")
    clock.ahead = 1
    later = await sink.attempt(EVENT)

    assert told.reason == f"the token file {file} {why}"
    assert told.untried
    assert told.retry_after is not None
    assert timedelta() < told.retry_after <= timedelta(seconds=1)
    assert later == Accepted()
    assert tokens_sent(subscriber) == ["Bearer one"]


async def test_a_folder_is_no_token_file(
    sinks: HttpSinks, subscriber: Subscriber, tmp_path: Path
) -> None:
    told = refused(await sink_with(sinks, subscriber, tmp_path).attempt(EVENT))

    assert told.reason == f"the token file {tmp_path} cannot be read: it is not a file"


async def test_a_token_whose_file_is_gone_is_not_used_for_long(
    sinks: HttpSinks, subscriber: Subscriber, file: Path, clock: Clock
) -> None:
    sink = sink_with(sinks, subscriber, file)
    await sink.attempt(EVENT)
    remove(file)

    clock.ahead = 70
    meanwhile = await sink.attempt(EVENT)
    clock.ahead = 80
    told = refused(await sink.attempt(EVENT))

    assert meanwhile == Accepted()
    assert (told.reason.endswith("No such file or directory"), told.untried) == (True, True)
    assert tokens_sent(subscriber) == ["Bearer one"] * 2


async def test_a_token_that_is_repeated_by_the_subscriber_is_hidden(
    sinks: HttpSinks, subscriber: Subscriber, file: Path
) -> None:
    put(file, "c0nfidential")
    subscriber.answers("/events", [reply(500, {}, b"Bearer c0nfidential")])

    told = refused(await sink_with(sinks, subscriber, file).attempt(EVENT))

    assert told.body == b"Bearer ***"
