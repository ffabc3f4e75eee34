"""Which trace the events of sources are of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.event import Event
from broker.mesh.health import Health
from broker.mesh.receivers import ReceiverRun
from broker.mesh.sourcing import Context
from broker.ports import Arrival, BackendOptions, Emitter, HttpReply, HttpRequest
from broker.sourceplugin import source_plugin
from broker.trigger import Source
from tests.tracing import OWN, Tracing
from tests.watching import EVENT, Noting

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOURCE = Source(kind="Hook", key="default/it", broker="default/default", spec=None)


class Hook:
    """Emits an event for each request."""

    async def receive(self, request: HttpRequest, emit: Emitter) -> HttpReply | None:
        await emit(EVENT)
        return None


@pytest.fixture
async def channel() -> AsyncIterator[MemoryChannel]:
    options = BackendOptions(
        data_dir="", retention_age=timedelta(days=1), retention_bytes=1 << 20, shard=0
    )
    async with MemoryBackend.from_url("memory:", options) as backend:
        yield await backend.channel("default/default", {}, {})


async def stored(channel: MemoryChannel) -> Event:
    [found] = await channel.history()
    return found.event


async def test_an_event_of_a_source_has_a_span_of_its_own(channel: MemoryChannel) -> None:
    tracing, watch = Tracing(), Noting()
    context = Context(SOURCE, lambda: channel, Health("it"), watch=watch, tracer=tracing)

    await context.emit(replace(EVENT, trace=PARENT))

    assert (await stored(channel)).trace == OWN
    assert [each.trace for each in tracing.came] == [PARENT]
    [(_, event, origin)] = watch.stored
    assert (event.trace, origin.arrival) == (OWN, Arrival(0.0, [None], None))


async def test_where_traces_are_off_no_span_is_stored(channel: MemoryChannel) -> None:
    context = Context(SOURCE, lambda: channel, Health("it"))

    await context.emit(replace(EVENT, trace=PARENT))

    assert (await stored(channel)).trace is None


async def test_an_event_of_a_source_that_is_called_is_of_the_requests_trace(
    channel: MemoryChannel,
) -> None:
    tracing = Tracing()
    run = ReceiverRun(
        replace(SOURCE, receives=True),
        lambda: channel,
        plugin=source_plugin(Hook, "Hook"),
        tracer=tracing,
    )

    await run.receive(HttpRequest(headers=[("traceparent", PARENT)]))

    assert tracing.parents == [PARENT]
    assert (await stored(channel)).trace == OWN
