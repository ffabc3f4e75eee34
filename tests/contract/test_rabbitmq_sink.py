"""RabbitmqSink on a real RabbitMQ: what others get, what is refused and why, and outages."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiormq.abc import ArgumentsType

from broker.codecs.amqp import decode
from broker.codecs.json import decode_event
from broker.event import Event
from broker.mesh.kindsinks import KindSinks
from broker.ports import Accepted, Answer, Refused, Sink
from broker.sinkplugin import sink_plugin
from broker.trigger import SinkObject
from cemesh.testing.contract.sinks import _OPTIONS
from sinks.rabbitmq import RabbitmqSink, RabbitmqSinkSpec
from tests.contract.rabbitmq import client
from tests.contract.rabbitmq_queues import access, declare, taken, waiting
from tests.services.relay import Relay


@asynccontextmanager
async def sending(url: str, **said: object) -> AsyncIterator[Sink]:
    asked = RabbitmqSinkSpec.model_validate({**access(url), **said})
    described = SinkObject(kind="RabbitmqSink", key="default/test", spec=asked)
    plugin = sink_plugin(RabbitmqSink, "RabbitmqSink")
    async with KindSinks(find=lambda kind, at: plugin) as sinks:
        yield await sinks.sink(described, _OPTIONS)


@pytest.fixture
async def queue(rabbitmq: str) -> str:
    name = f"sink-{uuid.uuid4()}"
    await declare(rabbitmq, name)
    return name


def event(data: bytes | None = b'{"n": 1.0}', **attributes: str) -> Event:
    required = {"id": "1", "source": "/shop", "specversion": "1.0", "type": "order"}
    return Event.checked({**required, **attributes}, data)


def reason(answer: Answer) -> str:
    assert isinstance(answer, Refused), answer
    return answer.reason


def is_final(answer: Answer) -> bool:
    return isinstance(answer, Refused) and answer.permanent


# --- what others get -------------------------------------------------------------------------


async def test_a_binary_message_has_the_attributes_as_headers_and_is_persistent(
    rabbitmq: str, queue: str
) -> None:
    sent = event(datacontenttype="application/json", note="ü")
    async with sending(rabbitmq, routingKey=queue) as sink:
        answer = await sink.attempt(sent)
        [(properties, body)] = await taken(rabbitmq, queue, 1)

    assert isinstance(answer, Accepted)
    assert body == b'{"n": 1.0}'
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    headers = properties.headers or {}
    assert {name: headers[name] for name in headers if name.startswith("ce-")} == {
        f"ce-{name}": value for name, value in sent.attributes.items()
    }


async def test_a_message_tells_of_the_span_that_its_event_comes_from(
    rabbitmq: str, queue: str
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = replace(event(traceparent=trace.replace("-01", "-00")), trace=f"{trace} a=1")
    async with sending(rabbitmq, routingKey=queue) as sink:
        await sink.attempt(sent)
        [(properties, body)] = await taken(rabbitmq, queue, 1)

    headers = properties.headers or {}
    assert (headers["traceparent"], headers["tracestate"]) == (trace, "a=1")
    assert headers["ce-traceparent"] == sent.attributes["traceparent"]
    assert decode(headers, body, content_type=properties.content_type)[0] == sent


async def test_a_structured_message_is_the_event_in_json(rabbitmq: str, queue: str) -> None:
    async with sending(rabbitmq, routingKey=queue, contentMode="structured") as sink:
        answer = await sink.attempt(event(note="ü"))
        [(properties, body)] = await taken(rabbitmq, queue, 1)

    assert isinstance(answer, Accepted)
    assert properties.content_type == "application/cloudevents+json"
    assert decode_event(body) == event(note="ü")


async def test_a_routing_key_is_made_of_attributes(rabbitmq: str, queue: str) -> None:
    async with client(rabbitmq) as channel:
        await channel.exchange_declare(queue, exchange_type="topic", durable=True)
        await channel.queue_bind(queue, queue, routing_key="shop.order.*")
    async with sending(rabbitmq, exchange=queue, routingKey="shop.{type}.{subject}") as sink:
        answer = await sink.attempt(event(subject="17"))
        other = await sink.attempt(event(subject="17", type="refund"))
        without = await sink.attempt(event())
        too_long = await sink.attempt(event(subject="x" * 300))

    assert isinstance(answer, Accepted)
    assert reason(other).endswith(
        f"no queue is bound to the exchange '{queue}' for the routing key 'shop.refund.17'"
    )
    assert not is_final(other)
    assert reason(without).endswith("the event has no 'subject', which 'routingKey' is made of")
    assert is_final(without)
    assert reason(too_long).endswith("the routing key would be longer than 255 bytes")
    assert is_final(too_long)


# --- what is refused -------------------------------------------------------------------------


async def test_what_leads_nowhere_is_refused_in_words_and_taken_once_it_leads_somewhere(
    rabbitmq: str,
) -> None:
    name = f"sink-{uuid.uuid4()}"
    async with sending(rabbitmq, routingKey=name) as sink:
        nowhere = await sink.attempt(event())
        await declare(rabbitmq, name)
        answer = await sink.attempt(event())
    async with sending(rabbitmq, exchange=name) as sink:
        no_exchange = await sink.attempt(event())

    assert f"there is no queue '{name}' in the virtual host" in reason(nowhere)
    assert isinstance(answer, Accepted)
    assert f"no exchange '{name}'" in reason(no_exchange)
    assert not is_final(no_exchange)


async def test_what_a_full_queue_refuses_is_refused_and_may_be_tried_again(rabbitmq: str) -> None:
    name = f"sink-{uuid.uuid4()}"
    full: ArgumentsType = {
        "x-queue-type": "classic",
        "x-max-length": 1,
        "x-overflow": "reject-publish",
    }
    await declare(rabbitmq, name, full)
    async with sending(rabbitmq, routingKey=name) as sink:
        first = await sink.attempt(event())
        refused = await sink.attempt(event())
        await taken(rabbitmq, name, 1)
        again = await sink.attempt(event())

    assert isinstance(first, Accepted)
    assert reason(refused).endswith("a queue refuses the message; is it full?")
    assert not is_final(refused)
    assert isinstance(again, Accepted)


async def test_a_wrong_password_is_said_and_not_shown(rabbitmq: str, queue: str) -> None:
    async with sending(rabbitmq, routingKey=queue, password="not-that-one") as sink:
        refused = await sink.attempt(event())

    assert "('user' and 'password') those that it knows" in reason(refused)
    assert "not-that-one" not in reason(refused)


# --- outages ---------------------------------------------------------------------------------


async def test_what_is_under_way_when_the_connection_is_cut_is_refused_and_no_other(
    rabbitmq: str, rabbitmq_relay: Relay, queue: str
) -> None:
    async with sending(rabbitmq_relay.in_url(rabbitmq), routingKey=queue) as sink:
        assert isinstance(await sink.attempt(event()), Accepted)
        with rabbitmq_relay.hung():
            under_way = [asyncio.create_task(sink.attempt(event())) for _ in range(10)]
            await asyncio.sleep(0)
            with rabbitmq_relay.cut():
                async with asyncio.timeout(30):
                    answers = await asyncio.gather(*under_way)
        after = await sink.attempt(event())

    assert all(rabbitmq_relay.address in reason(each) for each in answers)
    assert isinstance(after, Accepted)
    assert await waiting(rabbitmq, queue) >= 2


async def test_an_attempt_that_is_given_up_spares_the_others(
    rabbitmq: str, rabbitmq_relay: Relay, queue: str
) -> None:
    async with sending(rabbitmq_relay.in_url(rabbitmq), routingKey="{subject}") as sink:
        await sink.attempt(event(subject=queue))
        with rabbitmq_relay.hung():
            nowhere, there = event(subject="nowhere"), event(subject=queue)
            given_up = [asyncio.create_task(sink.attempt(nowhere)) for _ in range(20)]
            others = [asyncio.create_task(sink.attempt(there)) for _ in range(20)]
            await asyncio.wait(given_up, timeout=0.1)  # in which they are written, and no more
            for each in given_up:
                each.cancel()
            await asyncio.wait(given_up)
        answers = await asyncio.gather(*others)

    assert all(isinstance(each, Accepted) for each in answers)
