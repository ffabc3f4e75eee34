"""RedisStreamSink on a real Redis: what it adds, and what it says where it cannot."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.connections.redis import connecting
from broker.event import Event
from broker.ports import Accepted, Answer
from cemesh.testing.contract.sinks import event
from sinks.redis import RedisStreamSink, RedisStreamSinkSpec, sink
from tests.contract.redis_streams import ask, events_in, read
from tests.services.redis.server import PASSWORD, RedisServer
from tests.services.relay import Relay
from tests.unit.meshes import until


@pytest.fixture
def stream() -> str:
    return f"sink-{uuid.uuid4()}"


@pytest.fixture
def own(redis_server: RedisServer) -> Iterator[str]:
    """Return the URL of a server of the test's own, which others do not fill."""
    with redis_server:
        yield redis_server.listeners.url


@asynccontextmanager
async def adding(url: str, stream: str, **spec: object) -> AsyncIterator[RedisStreamSink]:
    asked = {"url": url, "stream": stream, **spec}
    async with RedisStreamSink(RedisStreamSinkSpec.model_validate(asked)) as made:
        yield made


def said(answer: Answer) -> str:
    assert not isinstance(answer, Accepted)
    assert not answer.permanent
    return answer.reason


async def until_accepted(made: RedisStreamSink, given: Event) -> None:
    async with asyncio.timeout(30):
        while not isinstance(await made.attempt(given), Accepted):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "given",
    [
        event("1"),
        event("2", None),
        event("3", b""),
        event("4", b"\xff\x00\n"),
        replace(
            event("5"),
            attributes={**event("5").attributes, "flag": "true", "count": "7"},
            kinds={"flag": "boolean", "count": "integer"},
        ),
    ],
    ids=lambda each: each.id,
)
async def test_a_source_makes_the_same_event_of_what_a_sink_has_added(
    redis_url: str, stream: str, given: Event
) -> None:
    async with adding(redis_url, stream) as made, read(redis_url, stream) as run:
        assert isinstance(await made.attempt(given), Accepted)
        [found] = await run.events(1, within=timedelta(seconds=30))

    assert found == given


async def test_many_and_large_events_are_all_added_in_their_order(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_BYTES_TOGETHER", 100_000)
    events = [event(str(n), b'"%s"' % (b"x" * 1_000)) for n in range(1_200)]
    events[7] = event("7", b'"%s"' % (b"x" * 200_000))
    async with adding(redis_url, stream) as made:
        answers = await asyncio.gather(*map(made.attempt, events))

    assert {type(each) for each in answers} == {Accepted}
    assert await events_in(redis_url, stream) == events


async def test_an_attempt_that_is_given_up_disturbs_no_other(
    redis_url: str, redis_relay: Relay, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with adding(redis_relay.in_url(redis_url), stream) as made:
        with redis_relay.hung():
            given_up = [asyncio.create_task(made.attempt(event(str(n)))) for n in range(3)]
            await asyncio.sleep(0)  # they have begun
            await until(lambda: not made._pending)  # they are under way
            for each in given_up:
                each.cancel()
            await asyncio.wait(given_up)
        assert isinstance(await made.attempt(event("4")), Accepted)

    assert "4" in {each.id for each in await events_in(redis_url, stream)}


async def test_a_stream_is_kept_at_about_its_length(redis_url: str, stream: str) -> None:
    async with adding(redis_url, stream, maxLength=100) as made:
        await asyncio.gather(*(made.attempt(event(str(n))) for n in range(1_000)))

    length = await ask(redis_url, "XLEN", stream)
    assert 100 <= length < 300
    assert (await events_in(redis_url, stream))[-1].id == "999"


async def test_without_the_replicas_that_are_wanted_it_is_refused(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_REPLICATES_WITHIN", 100)
    async with adding(redis_url, stream, waitReplicas=1) as made:
        told = said(await made.attempt(event("1")))

    assert told == "0 of 1 replicas have it after 100 ms"


async def test_with_the_replicas_that_are_wanted_it_is_accepted(
    own: str, redis_program: Path, tmp_path: Path, stream: str
) -> None:
    host, _, port = own.removeprefix("redis://").rpartition(":")
    # Without a file of its own, which it would begin anew just when it is to end.
    settings = f"replicaof {host} {port}\nappendonly no"
    with RedisServer(tmp_path / "replica", redis_program, settings=settings) as replica:
        async with adding(own, stream, waitReplicas=1) as made:
            await until_accepted(made, event("1"))
        found = await events_in(replica.listeners.url, stream)
        async with adding(replica.listeners.url, stream) as made:
            told = said(await made.attempt(event("2")))

    assert "1" in {each.id for each in found}
    assert "it is a replica; the URL has to lead to the master" in told


async def test_a_full_redis_is_said_and_taken_when_there_is_room_again(
    own: str, stream: str
) -> None:
    async with adding(own, stream) as made:
        await ask(own, "CONFIG", "SET", "maxmemory", "1")
        told = said(await made.attempt(event("1")))
        await ask(own, "CONFIG", "SET", "maxmemory", "0")
        await until_accepted(made, event("1"))

    assert "its memory is full" in told


async def test_what_was_accepted_outlives_a_redis_that_is_killed(
    redis_server: RedisServer, stream: str
) -> None:
    with redis_server:
        url = redis_server.listeners.url
        async with adding(url, stream) as made:
            await asyncio.gather(*(made.attempt(event(str(n))) for n in range(100)))
            await asyncio.to_thread(redis_server.kill)
            told = said(await made.attempt(event("100")))
            await asyncio.to_thread(redis_server.start)
            await until_accepted(made, event("100"))
        found = {each.id for each in await events_in(url, stream)}

    assert told.startswith(f"Redis at {url.removeprefix('redis://')} cannot be used: ")
    assert found == {str(n) for n in range(101)}


async def test_a_redis_that_hangs_is_a_refusal(
    redis_url: str, redis_relay: Relay, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "ANSWERS_WITHIN", timedelta(milliseconds=300))
    async with adding(redis_relay.in_url(redis_url), stream) as made:
        with redis_relay.hung():
            told = said(await made.attempt(event("1")))
        await until_accepted(made, event("1"))

    assert "no answer in time" in told


async def test_a_wrong_password_and_a_key_that_is_no_stream_are_said(
    redis_url: str, stream: str
) -> None:
    await ask(redis_url, "SET", stream, "1")
    async with adding(redis_url, stream) as made:
        other = said(await made.attempt(event("1")))
    async with adding(redis_url, stream, user="nobody", password=PASSWORD) as made:
        unknown = said(await made.attempt(event("1")))

    assert "what has that name there is no stream" in other
    assert "are 'user' and 'password' those that it knows?" in unknown
    assert PASSWORD not in unknown
