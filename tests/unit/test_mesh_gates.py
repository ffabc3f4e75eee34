"""Subscribers that fail, on real sockets, and what the rest of the mesh feels of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from broker.event import Event
from broker.mesh import Mesh
from broker.policy import Breaker
from broker.ports import Books
from broker.status import TriggerStatus
from broker.trigger import Desired, Trigger
from tests.services.subscribers import Answer, Request, Subscriber, hang, reply
from tests.unit.meshes import (
    BROKER,
    NO_WAIT,
    Store,
    install,
    make_event,
    make_mesh,
    make_trigger,
)

PAUSE, FAILURES = 0.1, 3
BREAKING = replace(
    NO_WAIT,
    retry=1_000,
    timeout=timedelta(hours=1),
    breaker=Breaker(
        failures=FAILURES, pause=timedelta(seconds=PAUSE), max_pause=timedelta(seconds=PAUSE * 2)
    ),
)
PARALLELISM = 5


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    install(monkeypatch, store=store)
    return store


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with make_mesh() as mesh:
        yield mesh


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


class Unwell:
    """Answers ``refusal`` while it is unwell; ``times`` are those of all requests."""

    def __init__(self, refusal: Answer = 503) -> None:
        self.is_unwell = True
        self.times: list[float] = []
        self.took: Counter[str | None] = Counter()
        self._refusal = refusal

    def __call__(self, request: Request) -> Answer:
        self.times.append(asyncio.get_running_loop().time())
        if self.is_unwell:
            return self._refusal
        self.took[request.header("ce-id")] += 1
        return 200


def desired(*triggers: Trigger) -> Desired:
    return Desired(brokers={BROKER.key: BROKER}, triggers={each.key: each for each in triggers})


def events(count: int) -> Sequence[Event]:
    return [make_event(str(number)) for number in range(count)]


async def post(mesh: Mesh, events: Sequence[Event]) -> None:
    entrance = mesh.find(BROKER.key)
    assert entrance is not None
    await entrance.emit(events)


async def told(mesh: Mesh, name: str) -> TriggerStatus:
    [broker] = (await mesh.status()).brokers
    return next(each for each in broker.triggers if each.key == f"default/{name}")


async def until_all_is_answered(mesh: Mesh, name: str) -> None:
    """Return once the trigger has paused with nothing under way."""
    async with asyncio.timeout(30):
        while (found := await told(mesh, name)).state.phase != "paused" or found.in_flight:
            await asyncio.sleep(0.005)


async def told_once(mesh: Mesh, name: str, *, delivered: int) -> Books:
    """Return the books of the trigger once it has delivered so many."""
    async with asyncio.timeout(30):
        while (found := (await told(mesh, name)).books).delivered < delivered:
            await asyncio.sleep(0.01)
    return found


async def in_phase(mesh: Mesh, name: str, phase: str) -> TriggerStatus:
    async with asyncio.timeout(30):
        while (found := await told(mesh, name)).state.phase != phase:
            await asyncio.sleep(0.005)
    return found


async def test_a_subscriber_that_asks_for_time_gets_it_while_its_neighbour_goes_on(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    busy = Unwell(reply(503, {"Retry-After": "3600"}))
    orders = make_trigger("orders", subscriber.answers("/orders", busy))
    audit = make_trigger("audit", subscriber.url("/audit"))
    await mesh.apply(desired(orders, audit))
    await post(mesh, [make_event("first")])
    held = await in_phase(mesh, "orders", "held")
    busy.is_unwell = False

    await post(mesh, events(20))
    await subscriber.received_at("/audit", 21)
    assert len(busy.times) == 1
    assert held.state.why == "503 Service Unavailable"
    assert held.state.until is not None
    assert held.state.until - datetime.now(UTC) > timedelta(minutes=58)

    await mesh.resume(orders.key)
    kept = await told_once(mesh, "orders", delivered=20)
    assert busy.took == Counter({each.id: 1 for each in events(20)})
    assert (kept.waiting, kept.unaccounted) == (1, 0)  # the first waits for its time


async def test_a_dead_subscriber_gets_one_probe_at_a_time_and_everything_once_it_is_back(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    dead = Unwell()
    url = subscriber.answers("/orders", dead)
    await mesh.apply(
        desired(make_trigger("orders", url, delivery=BREAKING, parallelism=PARALLELISM))
    )
    await post(mesh, events(200))
    # Some begin until the last of the failures that it takes is heard.
    await until_all_is_answered(mesh, "orders")
    assert len(dead.times) <= PARALLELISM + FAILURES - 1 + 1  # and a probe, perhaps
    dead.times.clear()
    async with asyncio.timeout(30):
        while len(dead.times) < 4:
            await asyncio.sleep(0.01)

    gaps = [later - earlier for earlier, later in pairwise(dead.times)]
    assert min(gaps) >= PAUSE * 0.9 - 0.002
    assert min(gaps[1:]) >= PAUSE * 2 * 0.9 - 0.002

    dead.is_unwell = False
    kept = await told_once(mesh, "orders", delivered=200)
    assert dead.took == Counter({each.id: 1 for each in events(200)})
    assert (kept.dead_lettered, kept.waiting, kept.unaccounted) == (0, 0, 0)
    await in_phase(mesh, "orders", "running")


async def test_a_trigger_whose_subscriber_refuses_connections_waits_and_keeps_its_events(
    mesh: Mesh,
) -> None:
    async with Subscriber() as gone:
        port = gone.port
    policy = replace(BREAKING, retry=3)
    url = f"http://127.0.0.1:{port}/orders"
    await mesh.apply(desired(make_trigger("orders", url, delivery=policy, parallelism=1)))
    await post(mesh, events(50))
    await in_phase(mesh, "orders", "paused")

    async with Subscriber(port=port):
        kept = await told_once(mesh, "orders", delivered=50)

    assert (kept.dead_lettered, kept.waiting, kept.unaccounted) == (0, 0, 0)


async def test_what_is_gone_gets_no_more_until_the_trigger_changes(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    orders = make_trigger("orders", subscriber.answers("/orders", [410]))
    await mesh.apply(desired(orders, make_trigger("audit", subscriber.url("/audit"))))
    await post(mesh, [make_event("first")])
    found = await in_phase(mesh, "orders", "paused")
    assert (found.state.why, found.state.until) == ("410 Gone", None)

    await post(mesh, events(10))
    await subscriber.received_at("/audit", 11)
    assert len(await subscriber.received_at("/orders")) == 1

    moved = replace(orders, subscriber=replace(orders.subscriber, url=subscriber.url("/new")))
    await mesh.apply(desired(moved))
    await subscriber.received_at("/new", 10)
    kept = await told_once(mesh, "orders", delivered=10)
    assert (kept.dead_lettered, kept.waiting, kept.unaccounted) == (1, 0, 0)


async def test_shut_down_while_it_is_shut_the_mesh_ends_at_once_and_finds_all_again(
    subscriber: Subscriber,
) -> None:
    busy = Unwell(reply(429, {"Retry-After": "3600"}))
    url = subscriber.answers("/orders", busy)
    async with make_mesh(drain_timeout=timedelta(hours=1)) as mesh:
        await mesh.apply(desired(make_trigger("orders", url)))
        await post(mesh, [make_event("first")])
        await in_phase(mesh, "orders", "held")
        await post(mesh, events(10))
        async with asyncio.timeout(30):
            await mesh.drain()

    busy.is_unwell = False
    async with make_mesh() as mesh:
        await mesh.apply(desired(make_trigger("orders", url)))
        kept = await told_once(mesh, "orders", delivered=10)

    assert busy.took == Counter({each.id: 1 for each in events(10)})
    assert (kept.waiting, kept.unaccounted) == (1, 0)  # the first waits for its time


async def test_shut_down_while_it_probes_the_mesh_breaks_the_probe_off_in_time(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger(
        "orders",
        subscriber.answers("/orders", [503, 503, 503, hang(), 200]),
        delivery=BREAKING,
        parallelism=1,
    )
    async with make_mesh(drain_timeout=timedelta(milliseconds=100)) as mesh:
        await mesh.apply(desired(orders))
        await post(mesh, events(10))
        await subscriber.received_at("/orders", 4)
        await in_phase(mesh, "orders", "probing")
        async with asyncio.timeout(30):
            await mesh.drain()

    async with make_mesh() as mesh:
        await mesh.apply(desired(orders))
        kept = await told_once(mesh, "orders", delivered=10)

    assert (kept.dead_lettered, kept.waiting, kept.unaccounted) == (0, 0, 0)


async def test_changed_while_it_is_shut_a_trigger_goes_on_as_it_is_now(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    busy = Unwell(reply(503, {"Retry-After": "3600"}))
    orders = make_trigger("orders", subscriber.answers("/busy", busy))
    await mesh.apply(desired(orders))
    await post(mesh, [make_event("first")])
    await in_phase(mesh, "orders", "held")
    await post(mesh, events(10))

    moved = replace(orders, subscriber=replace(orders.subscriber, url=subscriber.url("/new")))
    await mesh.apply(desired(moved))
    received = await subscriber.received_at("/new", 10)

    assert len(busy.times) == 1
    assert {each.header("ce-id") for each in received} == {each.id for each in events(10)}
