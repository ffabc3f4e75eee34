"""What every sink of a kind promises (`broker.ports.KindSink`), beside a place of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol

from broker.event import Event
from broker.mesh.kindsinks import KindSinks
from broker.policy import Network
from broker.ports import Accepted, Answer, Refused, Sink, SinkOptions
from broker.sinkplugin import sink_plugin
from broker.trigger import SinkObject

_OPTIONS: Final = SinkOptions(
    namespace="default", timeout=timedelta(seconds=30), network=Network(loopback=True)
)


class Downstream(Protocol):
    """A sink under test, and where it takes events.

    ``sink`` is the class or function, ``spec`` an instance of its model.
    """

    sink: object
    spec: object

    async def arrived(self, count: int) -> Sequence[Event]:
        """Return what has arrived, once there are so many of them."""
        ...

    def outage(self) -> AbstractContextManager[None]:
        """Let nothing be taken there while the context lasts."""
        ...


@asynccontextmanager
async def taking(downstream: Downstream) -> AsyncIterator[Sink]:
    """Run the sink as a mesh does."""
    name = getattr(downstream.sink, "__name__", "Sink")
    described = SinkObject(kind=name, key="default/test", spec=downstream.spec)
    plugin = sink_plugin(downstream.sink, name)
    async with KindSinks(find=lambda kind, at: plugin) as sinks:
        yield await sinks.sink(described, _OPTIONS)


def event(id: str, data: bytes | None = b'{"a": [1, 2.50]}') -> Event:
    attributes = {
        "specversion": "1.0",
        "id": id,
        "source": "/shop",
        "subject": "ä «1»",
        "type": "order.created",
        "time": "2026-01-02T03:04:05.678901234Z",
        "datacontenttype": "application/json",
        "partitionkey": "k",
    }
    return Event.checked(attributes, data)


async def test_an_event_arrives_as_it_was(downstream: Downstream) -> None:
    async with taking(downstream) as sink:
        assert isinstance(await sink.attempt(event("1")), Accepted)
        (arrived,) = await downstream.arrived(1)

    assert arrived == event("1")


async def test_many_events_at_once_all_arrive(downstream: Downstream) -> None:
    events = [event(str(number)) for number in range(200)]
    async with taking(downstream) as sink:
        answers = await asyncio.gather(*(sink.attempt(each) for each in events))
        arrived = await downstream.arrived(200)

    assert all(isinstance(each, Accepted) for each in answers)
    assert {each.id for each in arrived} == {each.id for each in events}


async def test_what_cannot_be_taken_is_refused_with_a_reason_and_may_be_tried_again(
    downstream: Downstream,
) -> None:
    async with taking(downstream) as sink:
        with downstream.outage():
            refused = await sink.attempt(event("1"))
        answer: Answer = refused
        async with asyncio.timeout(30):
            while not isinstance(answer, Accepted):
                answer = await sink.attempt(event("1"))
        arrived = await downstream.arrived(1)

    assert isinstance(refused, Refused)
    assert refused.reason
    assert not refused.permanent
    assert {each.id for each in arrived} == {"1"}
