from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.errors import (
    ChannelFull,
    ChannelUnavailable,
    HopsExhausted,
    InvalidEvent,
    UnknownBroker,
)
from broker.event import MAX_HOPS, Event
from broker.ports import Accepted, Emit, Refused, Sink, SinkOptions
from broker.trigger import Target
from sinks.broker import BrokerSinks

EVENT = Event.checked({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"data")


def sink_into(emit: Emit, *, timeout: timedelta = timedelta(seconds=10)) -> Sink:
    def emit_to(broker: str) -> Emit:
        if broker != "default/other":
            raise UnknownBroker(f"no broker '{broker}' is running")
        return emit

    options = SinkOptions(namespace="default", timeout=timeout)
    return BrokerSinks(emit_to).sink(Target(url="broker://default/other"), options)


async def test_an_event_reaches_the_other_broker_one_hop_further_on() -> None:
    stored: list[Event] = []

    async def emit(events: Sequence[Event]) -> None:
        stored.extend(events)

    answer = await sink_into(emit).attempt(replace(EVENT, hops=7))

    assert answer == Accepted()
    assert stored == [replace(EVENT, hops=8)]


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (ChannelUnavailable("the disk is full"), False),
        (ChannelFull("too much is waiting"), False),
        (HopsExhausted("round and round"), True),
        (InvalidEvent("no id"), True),
    ],
)
async def test_a_broker_that_does_not_take_the_event_says_why(
    error: Exception, permanent: bool
) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise error

    answer = await sink_into(emit).attempt(EVENT)

    assert answer == Refused(reason=str(error), permanent=permanent)


async def test_a_broker_that_is_not_there_may_come_yet() -> None:
    def emit_to(broker: str) -> Emit:
        raise UnknownBroker(f"no broker '{broker}' is running")

    options = SinkOptions(namespace="default", timeout=timedelta(seconds=10))
    sink = BrokerSinks(emit_to).sink(Target(url="broker://default/gone"), options)

    answer = await sink.attempt(EVENT)

    assert answer == Refused(reason="no broker 'default/gone' is running")


async def test_an_event_does_not_go_round_in_a_circle_of_brokers_for_ever() -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise AssertionError(events)

    answer = await sink_into(emit).attempt(replace(EVENT, hops=MAX_HOPS))

    assert isinstance(answer, Refused)
    assert answer.permanent


async def test_a_broker_that_does_not_return_is_given_up_in_time() -> None:
    async def emit(events: Sequence[Event]) -> None:
        await asyncio.Event().wait()

    answer = await sink_into(emit, timeout=timedelta(milliseconds=20)).attempt(EVENT)

    assert answer == Refused(reason="not stored within 0.02 s")
