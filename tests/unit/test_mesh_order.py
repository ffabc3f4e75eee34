"""What a subscriber sees of an ordered trigger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.event import Event
from broker.mesh import Mesh
from broker.trigger import Desired, Trigger
from tests.services.subscribers import Subscriber
from tests.unit.meshes import BROKER, Store, install, make_event, make_mesh, make_trigger


@pytest.fixture
async def mesh(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mesh]:
    install(monkeypatch, store=Store())
    async with make_mesh() as mesh:
        yield mesh


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


def desired(trigger: Trigger) -> Desired:
    return Desired(brokers={BROKER.key: BROKER}, triggers={trigger.key: trigger})


async def post(mesh: Mesh, *events: Event) -> None:
    """Do what the ingress does."""
    entrance = mesh.find(BROKER.key)
    assert entrance is not None
    await entrance.emit(events)


def keyed(id: str) -> Event:
    """Return an event of the key that its id begins with."""
    return make_event(id).with_attributes({"partitionkey": id[0]}, {})


def seen(subscriber: Subscriber) -> list[str | None]:
    return [each.header("ce-id") for each in subscriber.received]


async def test_an_ordered_trigger_repeats_an_event_before_it_goes_on_with_its_key(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    url = subscriber.answers("/orders", [503, 503, 200])
    await mesh.apply(desired(replace(make_trigger("orders", url), ordered=True)))

    await post(mesh, keyed("a1"), keyed("a2"), keyed("a3"))
    await subscriber.received_at("/orders", 5)

    assert seen(subscriber) == ["a1", "a1", "a1", "a2", "a3"]


async def test_an_ordered_trigger_goes_on_with_a_key_behind_a_dead_letter(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    url = subscriber.answers("/orders", [400, 200])
    await mesh.apply(desired(replace(make_trigger("orders", url), ordered=True)))

    await post(mesh, keyed("a1"), keyed("a2"))
    await subscriber.received_at("/orders", 2)

    assert seen(subscriber) == ["a1", "a2"]


async def test_a_trigger_becomes_ordered_when_its_files_change(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    trigger = make_trigger("orders", subscriber.answers("/orders", [503, 200]))
    await mesh.apply(desired(trigger))
    await mesh.apply(desired(replace(trigger, ordered=True)))

    await post(mesh, keyed("a1"), keyed("a2"))
    await subscriber.received_at("/orders", 3)

    assert seen(subscriber) == ["a1", "a1", "a2"]
