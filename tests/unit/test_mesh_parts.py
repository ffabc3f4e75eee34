"""Parts of one mesh that run apart: here as several meshes over one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from broker.errors import CemeshError, InvalidManifest
from broker.mesh import Mesh
from broker.ports import Emit, Refusal
from broker.settings import WHOLE, Part
from broker.trigger import Broker, Desired, Source, Trigger
from tests.services.subscribers import Subscriber
from tests.unit.meshes import (
    BROKER,
    HeldChannel,
    Store,
    install,
    make_event,
    make_mesh,
    make_trigger,
    until,
)

INGRESS, DISPATCHER, SOURCES = Part.INGRESS, Part.DISPATCHER, Part.SOURCES

each_part_without_triggers = pytest.mark.parametrize("part", [INGRESS, SOURCES])


class StoreOfOneProcess(Store):
    shared = False


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    install(monkeypatch, store=store, alone=StoreOfOneProcess())
    return store


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


def desired(
    *triggers: Trigger,
    brokers: tuple[Broker, ...] = (BROKER,),
    sources: Mapping[str, Source] | None = None,
) -> Desired:
    return Desired(
        brokers={each.key: each for each in brokers},
        triggers={each.key: each for each in triggers},
        sources=sources or {},
    )


async def post(mesh: Mesh, id: str) -> None:
    """Do what the ingress does."""
    entrance = mesh.find(BROKER.key)
    assert entrance is not None
    await entrance.emit([make_event(id)])


# --- who runs what -------------------------------------------------------------------------


async def test_what_an_ingress_takes_a_dispatcher_delivers(
    store: Store, subscriber: Subscriber
) -> None:
    wanted = desired(make_trigger("orders", subscriber.url("/orders"), parallelism=7))
    async with make_mesh(INGRESS) as ingress, make_mesh(DISPATCHER) as dispatcher:
        await dispatcher.apply(wanted)
        await ingress.apply(wanted)

        await post(ingress, "1")
        [request] = await subscriber.received_at("/orders")

        assert request.header("ce-id") == "1"
        assert store.channels[BROKER.key].windows == [7], "one of the two subscribes"
        [taken], [delivered] = (await ingress.status()).brokers, (await dispatcher.status()).brokers
        assert (taken.accepted, taken.triggers) == (1, [])
        assert [each.key for each in delivered.triggers] == ["default/orders"]


class NoSpec(BaseModel):
    """Asks for nothing."""


class Once:
    """A source that emits one event."""

    Spec: ClassVar[type[Any]] = NoSpec
    runs: ClassVar[int] = 0

    def __init__(self, spec: NoSpec, *, namespace: str, name: str) -> None:
        pass

    async def run(self, emit: Emit) -> None:
        Once.runs += 1
        await emit([make_event("emitted")])
        await asyncio.Event().wait()


async def test_only_the_sources_emit_and_what_they_emit_is_delivered_elsewhere(
    store: Store, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.plugins.source", lambda kind: Once)
    monkeypatch.setattr(Once, "runs", 0)
    source = Source(kind="Once", key="default/once", broker=BROKER.key, spec=NoSpec())
    wanted = desired(
        make_trigger("orders", subscriber.url("/orders")), sources={"Once default/once": source}
    )
    async with (
        make_mesh(SOURCES) as sources,
        make_mesh(INGRESS) as ingress,
        make_mesh(DISPATCHER) as dispatcher,
    ):
        for mesh in (dispatcher, ingress, sources):
            await mesh.apply(wanted)
        [request] = await subscriber.received_at("/orders")

        assert request.header("ce-id") == "emitted"
        assert Once.runs == 1
        assert [each.key for each in (await sources.status()).sources] == ["default/once"]
        assert (await sources.status()).brokers[0].triggers == []
        assert (await dispatcher.status()).sources == []
        assert (await ingress.status()).sources == []


async def test_only_a_dispatcher_takes_off_the_triggers_that_left_the_files(
    store: Store, subscriber: Subscriber
) -> None:
    kept = make_trigger("kept", subscriber.url("/kept"))
    async with make_mesh() as before:
        await before.apply(desired(kept, make_trigger("gone", subscriber.url("/gone"))))
    channel = store.channels[BROKER.key]

    async with make_mesh(INGRESS) as ingress, make_mesh(SOURCES) as sources:
        await ingress.apply(desired(kept))
        await sources.apply(desired(kept))
        assert channel.gone == []
    async with make_mesh(DISPATCHER) as dispatcher:
        await dispatcher.apply(desired(kept))
        assert channel.gone == ["default/gone"]


@each_part_without_triggers
async def test_sinks_are_made_only_where_triggers_run(store: Store, part: Part) -> None:
    wanted = desired(make_trigger("orders", "pigeon://loft"))
    async with make_mesh(part) as mesh:
        await mesh.apply(wanted)
        assert await mesh.not_ready() == []

    async with make_mesh(DISPATCHER) as dispatcher:
        with pytest.raises(CemeshError, match="pigeon"):
            await dispatcher.apply(wanted)


@each_part_without_triggers
async def test_the_triggers_that_run_elsewhere_are_known_as_the_manifests_have_them(
    store: Store, subscriber: Subscriber, part: Part
) -> None:
    more = Broker(key="default/more")
    here = make_trigger("here", subscriber.url("/here"))
    there = make_trigger("there", subscriber.url("/there"), broker=more.key)
    async with make_mesh(part) as mesh:
        await mesh.apply(desired(here, there, brokers=(BROKER, more)))
        assert mesh.triggers(BROKER.key) == [here]
        assert mesh.triggers(more.key) == [there]

        await mesh.apply(desired(brokers=(BROKER, more)))
        assert mesh.triggers(BROKER.key) == []


@each_part_without_triggers
async def test_a_dead_letter_is_redriven_by_dispatchers_alone(
    store: Store, subscriber: Subscriber, part: Part
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    channel = await store.channel(BROKER.key, {}, {})
    await bury(channel, orders)
    [letter] = await channel.dead_letters.list()
    async with make_mesh(part) as apart, make_mesh(DISPATCHER) as dispatcher:
        await dispatcher.apply(desired(orders))
        await apart.apply(desired(orders))

        result = await apart.redrive(BROKER.key, [letter.id])
        assert result.redriven == []
        assert result.kept == {
            letter.id: "its trigger default/orders does not run here: ask a dispatcher"
        }

        result = await dispatcher.redrive(BROKER.key, [letter.id])
        assert result.redriven == [letter.id]
        await subscriber.received_at("/orders")


async def bury(channel: HeldChannel, trigger: Trigger) -> None:
    why = Refusal(destination="http://a/", reason="refused", status=400, body=b"", attempts=1)
    async with channel.subscribe(trigger.key, filter=trigger.filter, window=1) as cursor:
        await channel.append([make_event("1")])
        cursor.bury(await anext(cursor.claims()), why)


@pytest.mark.parametrize("part", Part)
async def test_each_part_says_what_it_is_and_when_it_is_ready(store: Store, part: Part) -> None:
    async with make_mesh(part) as mesh:
        assert await mesh.not_ready() == ["the mesh is starting"]
        await mesh.apply(desired())

        assert (await mesh.status()).parts == frozenset({part})
        assert await mesh.not_ready() == []
        store.outage = "the disk is full"
        assert await mesh.not_ready() == ["broker default/default: the disk is full"]
    assert await mesh.not_ready() == ["the mesh is stopping"]


# --- channels of one process ---------------------------------------------------------------


@pytest.mark.parametrize("part", Part)
async def test_a_part_refuses_every_broker_whose_channel_is_of_one_process(
    store: Store, part: Part
) -> None:
    alone, too = Broker(key="default/a", channel="alone"), Broker(key="default/b", channel="alone")
    async with make_mesh(part) as mesh:
        with pytest.raises(InvalidManifest) as refused:
            await mesh.apply(desired(brokers=(alone, BROKER, too)))

        assert [each.subject for each in refused.value.problems] == [
            "Broker default/a",
            "Broker default/b",
        ]
        assert str(refused.value.problems[0]) == (
            "Broker default/a: its channel 'alone' is of one process alone: run everything in one "
            "with `cemesh run`, or choose a channel that processes share "
            "(--channel kafka://HOST:PORT or amqp://HOST:PORT, or the class Kafka or "
            "RabbitMQBroker)"
        )
        assert mesh.find(BROKER.key) is None
        assert store.channels == {}, "nothing was opened"


async def test_the_whole_mesh_takes_channels_of_one_process(store: Store) -> None:
    alone = Broker(key="default/alone", channel="alone")
    async with make_mesh(*WHOLE) as mesh:
        await mesh.apply(desired(brokers=(alone,)))

        assert mesh.find(alone.key) is not None


async def test_a_part_that_runs_stays_as_it_was_when_a_change_is_refused(
    store: Store, subscriber: Subscriber
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    alone = Broker(key=BROKER.key, channel="alone")
    async with make_mesh(DISPATCHER) as dispatcher:
        await dispatcher.apply(desired(orders))
        with pytest.raises(InvalidManifest):
            await dispatcher.apply(desired(brokers=(alone,)))

        assert dispatcher.triggers(BROKER.key) == [orders]
        await store.channels[BROKER.key].append([make_event("1")])
        await subscriber.received_at("/orders")
        await until(lambda: store.channels[BROKER.key].waiting == 0)
