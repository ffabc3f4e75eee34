"""RabbitmqSource on a real RabbitMQ: what it reads, what it tells, and what it survives."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiormq
import pytest

from broker.codecs.amqp import encode
from broker.codecs.json import encode_event
from cemesh.testing import running
from cemesh.testing.contract.sinks import event as made
from sources.rabbitmq import RabbitmqSource, RabbitmqSpec, source
from tests.contract.rabbitmq import client, until
from tests.contract.rabbitmq_queues import access, declare, publish, read, spec_of, waiting
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.settings import Listeners
from tests.services.relay import Relay


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_LOOKS_EVERY", 0.1)


@pytest.fixture
async def queue(rabbitmq: str) -> str:
    name = f"source-{uuid.uuid4()}"
    await declare(rabbitmq, name)
    return name


def numbered(*numbers: int) -> list[bytes]:
    return [b"%d" % each for each in numbers]


# --- what becomes of a message ---------------------------------------------------------------


async def test_a_message_that_is_no_event_becomes_one_that_says_all_that_is_known(
    rabbitmq: str, queue: str
) -> None:
    await publish(
        rabbitmq,
        queue,
        b"\x00\xff",
        headers={"X-Shop": "ä", "count": 3, "nested": {"a": 1}, "x-delivery-count": 0},
        message_id="m-1",
        content_type="application/x-order",
        content_encoding="gzip",
        timestamp=datetime(2026, 3, 1, 2, tzinfo=UTC),
        correlation_id="c-1",
        reply_to="answers",
        message_type="order",
        app_id="shop",
    )

    async with read(rabbitmq, queue) as run:
        [event] = await run.events(1)

    assert event.data == b"\x00\xff"
    assert event.attributes == {
        "specversion": "1.0",
        "id": "m-1",
        "source": f"/apis/v1/namespaces/default/rabbitmqsources/orders#{queue}",
        "type": "dev.knative.rabbitmq.event",
        "subject": "m-1",
        "key": "m-1",
        "time": "2026-03-01T02:00:00Z",
        "datacontenttype": "application/x-order",
        "rabbitmqroutingkey": queue,
        "rabbitmqcontentencoding": "gzip",
        "rabbitmqcorrelationid": "c-1",
        "rabbitmqreplyto": "answers",
        "rabbitmqtype": "order",
        "rabbitmqappid": "shop",
        "rabbitmqheaderxshop": "ä",
        "rabbitmqheadercount": "3",
    }


async def test_an_event_in_either_mode_stays_what_it_is(rabbitmq: str, queue: str) -> None:
    binary = encode(made("1"))
    await publish(
        rabbitmq, queue, binary.body, headers=binary.headers, content_type=binary.content_type
    )
    structured = encode_event(made("2"))
    await publish(rabbitmq, queue, structured, content_type="application/cloudevents+json")

    async with read(rabbitmq, queue) as run:
        events = await run.events(2)

    assert events == [made("1"), made("2")]


async def test_what_only_claims_to_be_an_event_is_rejected_and_the_rest_goes_on(
    rabbitmq: str, queue: str
) -> None:
    await publish(rabbitmq, queue, b"first", headers={"ce-id": "1"}, message_id="m-1")
    await publish(rabbitmq, queue, b"{", content_type="application/cloudevents+json")
    await publish(rabbitmq, queue, b"good")

    async with read(rabbitmq, queue) as run:
        [event] = await run.events(1)
        letters = await run.rejected(2)
        await until(lambda: run.status.lag == 0)

    assert event.data == b"good"
    assert {each.event.data for each in letters} == {b"first", b"{"}
    assert any(each.event.id == f"{queue}/m-1" for each in letters)
    assert all(f"a message of the queue {queue}" in each.why.reason for each in letters)
    assert await waiting(rabbitmq, queue) == 0


# --- what is made ----------------------------------------------------------------------------


async def test_an_exchange_and_a_queue_are_made_and_all_of_the_exchange_is_read(
    rabbitmq: str,
) -> None:
    name = f"source-{uuid.uuid4()}"
    async with read(rabbitmq, name, exchangeName=f"{name}-in") as run:
        await until(lambda: is_consumed(rabbitmq, name))
        await publish(rabbitmq, "any.key", b"1", exchange=f"{name}-in", headers={"a": "b"})
        await publish(rabbitmq, "", b"2", exchange=f"{name}-in")
        events = await run.events(2)

    assert [each.data for each in events] == [b"1", b"2"]
    assert events[0].attributes["rabbitmqroutingkey"] == "any.key"
    assert events[0].attributes["rabbitmqexchange"] == f"{name}-in"


async def is_consumed(url: str, queue: str) -> bool:
    async with client(url) as channel:
        try:
            found = await channel.queue_declare(queue, passive=True)
        except aiormq.ChannelNotFoundEntity:
            return False
    return found.consumer_count == 1


async def test_a_queue_that_was_deleted_is_told_of_and_made_again(rabbitmq: str) -> None:
    name = f"source-{uuid.uuid4()}"
    async with read(rabbitmq, name, exchangeName=name) as run:
        await until(lambda: is_consumed(rabbitmq, name))
        async with client(rabbitmq) as channel:
            await channel.queue_delete(name)
        status = await run.until("unhealthy")
        await until(lambda: is_consumed(rabbitmq, name))
        await publish(rabbitmq, "", b"1", exchange=name)
        await run.events(1)

    assert f"delivers no more of the queue '{name}'; was it deleted?" in (status.error or "")


# --- nothing is lost -------------------------------------------------------------------------


async def test_nothing_is_acknowledged_before_it_is_durable_and_no_more_is_taken_than_allowed(
    rabbitmq: str, queue: str
) -> None:
    await publish(rabbitmq, queue, *numbered(*range(5)))
    said = {"predeclared": True, "parallelism": 2}
    async with read(rabbitmq, queue, **said) as run:
        with run.outage():
            await run.until("unhealthy")
            await until(lambda: waiting_is(rabbitmq, queue, 3))
            await until(lambda: run.status.lag == 5)
            await run.stop()
        await until(lambda: waiting_is(rabbitmq, queue, 5))
        run.start()
        events = await run.events(5)
        await until(lambda: run.status.lag == 0)

    assert [each.data for each in events] == numbered(*range(5))


async def waiting_is(url: str, queue: str, count: int) -> bool:
    return await waiting(url, queue) == count


async def test_several_processes_share_the_queue(rabbitmq: str, queue: str) -> None:
    said = {"predeclared": True, "parallelism": 1}
    async with read(rabbitmq, queue, **said) as one, read(rabbitmq, queue, **said) as other:
        await until(lambda: one.status.lag == other.status.lag == 0)
        await publish(rabbitmq, queue, *numbered(*range(40)))
        found = [*await one.events(1), *await other.events(1)]
        await until(lambda: waiting_is(rabbitmq, queue, 0))
        await until(lambda: one.status.lag == other.status.lag == 0)
        await until(lambda: one.status.emitted + other.status.emitted == 40)

    assert len({each.id for each in found}) == 2


async def test_it_goes_on_once_the_way_to_the_server_is_there_again(
    rabbitmq: str, rabbitmq_relay: Relay, queue: str
) -> None:
    async with read(rabbitmq_relay.in_url(rabbitmq), queue) as run:
        await publish(rabbitmq, queue, *numbered(*range(10)))
        await run.events(10)
        with rabbitmq_relay.cut():
            status = await run.until("unhealthy")
            await publish(rabbitmq, queue, *numbered(*range(10, 20)))
        seen: set[bytes | None] = set()
        while not seen.issuperset(numbered(*range(10, 20))):
            seen.update(each.data for each in await run.events(1))

    assert f"RabbitMQ at {rabbitmq_relay.address}" in (status.error or "")


async def test_a_connection_that_is_lost_while_the_store_is_away_is_told_and_nothing_is_lost(
    rabbitmq: str, rabbitmq_relay: Relay, queue: str
) -> None:
    async with read(rabbitmq_relay.in_url(rabbitmq), queue) as run:
        with run.outage():
            await publish(rabbitmq, queue, *numbered(1, 2))
            await run.until("unhealthy")
            with rabbitmq_relay.cut():
                await until(lambda: "RabbitMQ at" in (run.status.error or ""))
        seen: set[bytes | None] = set()
        while not seen.issuperset(numbered(1, 2)):
            seen.update(each.data for each in await run.events(1))
        await until(lambda: waiting_is(rabbitmq, queue, 0))


async def test_stopped_it_leaves_no_connection_and_no_task(
    rabbitmq: str, rabbitmq_management: Management, queue: str
) -> None:
    before = asyncio.all_tasks()
    async with read(rabbitmq, queue) as run:
        await until(lambda: run.status.lag == 0)
    vhost = rabbitmq.rpartition("/")[2]

    await until(lambda: not rabbitmq_management.get(list[object], "vhosts", vhost, "connections"))
    assert asyncio.all_tasks() <= before


# --- what is said ----------------------------------------------------------------------------


def spec(access: Mapping[str, object], resources: Mapping[str, object]) -> RabbitmqSpec:
    return RabbitmqSpec.model_validate({**access, "rabbitmqResourcesConfig": resources})


async def why(asked: RabbitmqSpec) -> str:
    async with running(RabbitmqSource, asked, name="orders") as run:
        status = await run.until("unhealthy")
    return status.error or ""


async def test_why_it_cannot_read_is_said_in_words(rabbitmq: str, queue: str) -> None:
    resources = {"queueName": queue, "predeclared": True}
    stranger = {**access(rabbitmq), "password": "not-that-one"}
    elsewhere = access(rabbitmq)
    elsewhere["url"] = str(elsewhere["url"]).rpartition("/")[0]

    refused, outside, missing, other = await asyncio.gather(
        why(spec(stranger, resources)),
        why(spec(elsewhere, {**resources, "vhost": "nowhere"})),
        why(spec_of(rabbitmq, "no-such-queue")),
        why(spec_of(rabbitmq, queue, exchangeName="in", queueType="classic")),
    )

    assert "are the user and the password ('user' and 'password') those that it knows" in refused
    assert "not-that-one" not in refused
    assert "into the virtual host 'nowhere'" in outside
    assert "no queue 'no-such-queue'" in missing
    assert "it is not made here, as 'predeclared' is true" in missing
    assert "PRECONDITION_FAILED" in other
    assert "what is there is used as it is where 'predeclared' is true" in other


async def test_a_user_needs_no_more_than_to_read_and_is_named_where_it_may_not(
    rabbitmq: str, rabbitmq_management: Management, queue: str
) -> None:
    vhost, user = rabbitmq.rpartition("/")[2], f"reader-{uuid.uuid4()}"
    rabbitmq_management.put("users", user, body={"password": "p", "tags": ""})
    allowed = {"configure": "", "write": "", "read": ""}
    rabbitmq_management.put("permissions", vhost, user, body=allowed)
    reader = {**access(rabbitmq), "user": user, "password": "p"}
    asked = spec(reader, {"queueName": queue, "predeclared": True})
    try:
        told = await why(asked)
        rabbitmq_management.put("permissions", vhost, user, body={**allowed, "read": queue})
        await publish(rabbitmq, queue, b"1")
        async with running(RabbitmqSource, asked) as run:
            await run.events(1)
            await until(lambda: run.status.lag == 0)
    finally:
        rabbitmq_management.delete("users", user)

    assert f"access to queue '{queue}'" in told
    assert f"does the user '{user}' have permissions for that?" in told


async def test_a_stream_is_refused_in_words(rabbitmq: str) -> None:
    name = f"source-{uuid.uuid4()}"
    await declare(rabbitmq, name, {"x-queue-type": "stream"})
    async with read(rabbitmq, name) as run:
        await until(lambda: run.status.lag == 0)
        await publish(rabbitmq, name, b"1")
        status = await run.until("unhealthy")

    assert f"the queue '{name}' is a stream" in (status.error or "")


async def test_it_comes_by_tls_and_a_certificate_alone(
    rabbitmq: str, rabbitmq_listeners: Listeners, queue: str
) -> None:
    authority, pair = texts(rabbitmq_listeners.authority, rabbitmq_listeners.client)
    certificates = {"enable": True, "cert": pair, "key": pair}
    url = f"amqps://{rabbitmq_listeners.mtls}/{rabbitmq.rpartition('/')[2]}"
    resources = {"queueName": queue, "predeclared": True}
    await publish(rabbitmq, queue, b"1")

    known = spec({"url": url, "tls": {**certificates, "caCert": authority}}, resources)
    async with running(RabbitmqSource, known) as run:
        [event] = await run.events(1)
    told = await why(spec({"url": url, "tls": certificates}, resources))

    assert event.data == b"1"
    assert "does 'tls.caCert' have the authority of its certificate?" in told


def texts(*paths: str) -> list[str]:
    return [Path(each).read_text() for each in paths]
