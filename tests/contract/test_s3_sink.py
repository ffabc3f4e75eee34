"""S3Sink on a real server: what it stores, and what it says where it cannot."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from aiohttp.web import BaseRequest

from broker.codecs.json import decode_event
from broker.connections.s3 import client as s3_client
from broker.event import Event
from broker.ports import Accepted, Answer, Refused
from cemesh.testing.contract.sinks import event
from sinks.s3 import S3Sink, S3SinkSpec
from tests.contract.s3 import content, keys, objects, read
from tests.services.relay import Relay
from tests.services.s3.fixtures import GivenBucket
from tests.services.s3.gate import Gate
from tests.services.s3.server import SECRET_KEY, S3Server

SOON = timedelta(seconds=30)


@asynccontextmanager
async def storing(bucket: GivenBucket, /, **spec: Any) -> AsyncIterator[S3Sink]:  # noqa: ANN401 - whatever a spec says
    async with S3Sink(S3SinkSpec.model_validate({**bucket.spec, **spec})) as made:
        yield made


def said(answer: Answer) -> str:
    assert isinstance(answer, Refused)
    assert not answer.permanent
    return answer.reason


async def until_accepted(sink: S3Sink, given: Event) -> None:
    async with asyncio.timeout(30):
        while not isinstance(await sink.attempt(given), Accepted):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize(
    "given",
    [
        event("1"),
        event("2", b"\xff\x00\n" * 1_000_000),
        replace(
            event("ä/ %"), attributes={**event("ä/ %").attributes, "flag": "true", "count": "7"}
        ),
    ],
    ids=["small", "large", "odd"],
)
async def test_a_source_makes_the_same_event_of_what_a_sink_has_stored(
    s3_bucket: GivenBucket, given: Event, mode: str
) -> None:
    async with storing(s3_bucket, contentMode=mode) as sink:
        assert isinstance(await sink.attempt(given), Accepted)
    async with read(s3_bucket, content="data", maxBytes=8 << 20) as run:
        [found] = await run.events(1, within=SOON)

    assert found == given


async def test_the_same_event_again_is_the_same_object(s3_bucket: GivenBucket) -> None:
    async with storing(s3_bucket) as sink:
        for given in (event("1"), event("2"), event("1")):
            assert isinstance(await sink.attempt(given), Accepted)
        found = [await content(s3_bucket, each) for each in await objects(s3_bucket)]

    digest = hashlib.sha256(b"/shop\x001").hexdigest()[:32]
    assert f"order.created/2026-01-02/{digest}" in await keys(s3_bucket)
    assert sorted(decode_event(each).id for each in found) == ["1", "2"]


async def test_the_key_is_made_of_attributes_each_of_which_is_one_part_of_it(
    s3_bucket: GivenBucket,
) -> None:
    key = "x y/{type}/{source}/{subject}-{id}.json"
    async with storing(s3_bucket, key=key) as sink:
        for each in ("../1", ".."):
            assert isinstance(await sink.attempt(event(each)), Accepted)
    folders = {"x y/order.created/%2Fshop/%C3%A4 %C2%AB1%C2%BB"}

    found = await keys(s3_bucket)
    assert {each.rpartition("-")[0] for each in found} == folders
    assert {each.rpartition("-")[2] for each in found} == {"..%2F1.json", "%2E%2E.json"}


async def test_what_can_have_no_key_is_refused_for_good(s3_bucket: GivenBucket) -> None:
    attributes = {n: v for n, v in event("1").attributes.items() if n != "subject"}
    async with storing(s3_bucket, key="{subject}/{hash}") as sink:
        without = await sink.attempt(replace(event("1"), attributes=attributes))
    async with storing(s3_bucket, key="{source}/{id}") as sink:
        long = await sink.attempt(event("x" * 1024))

    assert isinstance(without, Refused)
    assert isinstance(long, Refused)
    assert without.permanent
    assert long.permanent
    assert without.reason == "the event has no 'subject', which its key is made of"
    assert "longer than 1,024 bytes" in long.reason


async def test_attributes_that_are_too_long_for_metadata_are_refused_for_good(
    s3_bucket: GivenBucket,
) -> None:
    given = replace(event("1"), attributes={**event("1").attributes, "long": "x" * 3_000})

    def denies(request: BaseRequest) -> str | None:
        long = len(request.headers.get("x-amz-meta-ce-long", "")) > 2_048
        return "MetadataTooLarge" if long else None

    async with Gate(s3_bucket.listeners, denies) as gate:
        async with storing(s3_bucket, endpoint=gate.url, contentMode="binary") as sink:
            refused = await sink.attempt(given)
        async with storing(s3_bucket, endpoint=gate.url, contentMode="structured") as sink:
            assert isinstance(await sink.attempt(given), Accepted)

    assert isinstance(refused, Refused)
    assert refused.permanent
    assert "MetadataTooLarge" in refused.reason


async def test_what_was_accepted_outlives_a_server_that_is_killed(s3_server: S3Server) -> None:
    with s3_server:
        bucket = GivenBucket.made(s3_server.listeners)
        async with storing(bucket) as sink:
            await asyncio.gather(*(sink.attempt(event(str(n))) for n in range(100)))
            await asyncio.to_thread(s3_server.kill)
            told = said(await sink.attempt(event("100")))
            await asyncio.to_thread(s3_server.start)
            await until_accepted(sink, event("100"))
        found = [decode_event(await content(bucket, each)) for each in await objects(bucket)]

    assert told.startswith(f"the bucket '{bucket.name}' at {s3_server.listeners.address} cannot ")
    assert {each.id for each in found} == {str(n) for n in range(101)}


async def test_a_server_that_is_asked_too_often_is_given_a_pause(
    s3_bucket: GivenBucket,
) -> None:
    turns = cycle([None, "SlowDown"])
    async with (
        Gate(s3_bucket.listeners, lambda _: next(turns)) as gate,
        storing(s3_bucket, endpoint=gate.url) as sink,
    ):
        given = [event(str(n), b"x" * 1_000_000) for n in range(50)]
        answers = await asyncio.gather(*map(sink.attempt, given))

    refused = [each for each in answers if isinstance(each, Refused)]
    paused = [each for each in refused if each.retry_after == timedelta(seconds=2)]
    assert paused  # of others, it may have closed the connection amid the body
    assert all("it is asked too often" in said(each) for each in paused)


async def test_a_server_that_hangs_is_a_refusal(
    s3_bucket: GivenBucket, s3_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "ANSWERS_WITHIN", 0.3)
    endpoint = s3_relay.in_url(s3_bucket.listeners.url)
    async with storing(s3_bucket, endpoint=endpoint) as sink:
        with s3_relay.hung():
            told = said(await sink.attempt(event("1")))
        await until_accepted(sink, event("1"))

    assert told.endswith("cannot be used: no answer in time")


async def test_attempts_that_are_given_up_disturb_no_other(
    s3_bucket: GivenBucket, s3_relay: Relay
) -> None:
    endpoint = s3_relay.in_url(s3_bucket.listeners.url)
    async with storing(s3_bucket, endpoint=endpoint) as sink:
        with s3_relay.hung():
            given_up = [asyncio.create_task(sink.attempt(event(str(n)))) for n in range(100)]
            await asyncio.sleep(0)  # they have begun
            for each in given_up:
                each.cancel()
            await asyncio.wait(given_up)
        assert isinstance(await sink.attempt(event("last")), Accepted)

    assert await keys(s3_bucket)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"secretAccessKey": "not-that-one"}, "is 'secretAccessKey' right?"),
        ({"bucket": "no-such-bucket"}, "is 'bucket' right, and 'pathStyle'?"),
        ({"accessKeyId": None, "secretAccessKey": None}, "its policy has to allow this"),
    ],
)
async def test_why_it_may_not_write_is_said_and_tried_again_and_no_secret_shown(
    s3_bucket: GivenBucket, spec: dict[str, Any], told: str
) -> None:
    async with storing(s3_bucket, **spec) as sink:
        reason = said(await sink.attempt(event("1")))

    assert told in reason
    assert SECRET_KEY not in reason
    assert "not-that-one" not in reason
