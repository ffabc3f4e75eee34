"""Triggers that are paused: by an operator or a 410, over restarts, in every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from broker.errors import ChannelUnavailable, UnknownTrigger
from broker.mesh import Mesh, pausing
from broker.ports import Pause
from broker.status import TriggerState
from broker.trigger import Desired, Trigger
from tests.services.subscribers import Subscriber, after, reply
from tests.unit.meshes import BROKER, Store, install, make_event, make_mesh, make_trigger, until

KEY = "default/orders"
ASKED = "the ledger is being migrated"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pausing, "_LOOKS_EVERY", 0.02)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    install(monkeypatch, store=store)
    return store


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


@asynccontextmanager
async def running(*triggers: Trigger) -> AsyncIterator[Mesh]:
    async with make_mesh() as mesh:
        await mesh.apply(desired(*triggers))
        yield mesh


def desired(*triggers: Trigger) -> Desired:
    return Desired(brokers={BROKER.key: BROKER}, triggers={each.key: each for each in triggers})


async def post(mesh: Mesh, *ids: str) -> None:
    await mesh.channel(BROKER.key).append([make_event(each) for each in ids])


def got(subscriber: Subscriber, path: str = "/orders") -> list[str | None]:
    return [each.header("ce-id") for each in subscriber.received if each.path == path]


async def waiting(mesh: Mesh) -> int:
    return (await mesh.channel(BROKER.key).books())[KEY].waiting


async def paused(mesh: Mesh) -> Pause | None:
    return (await mesh.channel(BROKER.key).pauses.all()).get(KEY)


@pytest.mark.usefixtures("store")
async def test_what_is_for_a_paused_trigger_waits_and_comes_when_it_is_resumed(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    other = make_trigger("other", subscriber.url("/other"))
    async with running(orders, other) as mesh:
        await mesh.pause(KEY, ASKED)
        await post(mesh, "1", "2")
        await until(lambda: sorted(map(str, got(subscriber, "/other"))) == ["1", "2"])

        assert got(subscriber) == []
        assert await waiting(mesh) == 2
        [state] = [
            each.state for each in (await mesh.status()).brokers[0].triggers if each.key == KEY
        ]
        assert (state.phase, state.why, state.until) == ("paused", ASKED, None)

        await mesh.resume(KEY)
        await until(lambda: sorted(map(str, got(subscriber))) == ["1", "2"])


@pytest.mark.usefixtures("store")
async def test_a_pause_outlives_the_process_and_a_change_of_the_trigger(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    changed = make_trigger("orders", subscriber.url("/changed"))
    other = make_trigger("other", subscriber.url("/other"))
    async with running(orders, other) as mesh:
        await mesh.pause(KEY, ASKED)

    async with running(orders, other) as mesh:
        await post(mesh, "1")
        await mesh.apply(desired(changed, other))
        await post(mesh, "2")
        await until(lambda: sorted(map(str, got(subscriber, "/other"))) == ["1", "2"])
        assert await waiting(mesh) == 2
        assert got(subscriber, "/orders") == got(subscriber, "/changed") == []

        await mesh.resume(KEY)
        await until(lambda: sorted(map(str, got(subscriber, "/changed"))) == ["1", "2"])


@pytest.mark.usefixtures("store")
async def test_what_one_process_pauses_and_resumes_is_so_in_the_others(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    async with running(orders) as dispatcher, make_mesh() as other:
        await other.apply(desired())
        other._desired = desired(orders)  # an ingress knows the triggers that others run
        await other.pause(KEY, ASKED)
        await until(lambda: dispatcher._triggers[KEY].gate.state.phase == "paused")

        await other.resume(KEY)
        await until(lambda: dispatcher._triggers[KEY].gate.state.phase == "running")
        await post(dispatcher, "1")
        await until(lambda: got(subscriber) == ["1"])


@pytest.mark.usefixtures("store")
async def test_a_subscriber_that_is_gone_gets_nothing_more_until_it_is_resumed(
    subscriber: Subscriber,
) -> None:
    subscriber.answers("/orders", [410, 200])
    orders = make_trigger("orders", subscriber.url("/orders"))
    async with running(orders) as mesh:
        await post(mesh, "1")
        await until(lambda: mesh._triggers[KEY].pause is not None)
        pause = await paused(mesh)
        assert pause is not None
        assert (pause.why, pause.destination) == ("410 Gone", orders.subscriber.url)
    async with running(orders, make_trigger("other", subscriber.url("/other"))) as mesh:
        await post(mesh, "2")
        await until(lambda: got(subscriber, "/other") == ["2"])
        assert await waiting(mesh) == 1
        assert got(subscriber) == ["1"]

        await mesh.resume(KEY)
        await until(lambda: got(subscriber) == ["1", "2"])
        assert await paused(mesh) is None


@pytest.mark.usefixtures("store")
async def test_a_trigger_whose_subscriber_was_gone_goes_on_with_another_one(
    subscriber: Subscriber,
) -> None:
    subscriber.answers("/orders", [410])
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        await post(mesh, "1")
        await until(lambda: mesh._triggers[KEY].pause is not None)
        await post(mesh, "2")

        await mesh.apply(desired(make_trigger("orders", subscriber.url("/new"))))

        await until(lambda: got(subscriber, "/new") == ["2"])


async def test_that_a_subscriber_is_gone_is_stored_as_soon_as_the_store_takes_it(
    subscriber: Subscriber, store: Store
) -> None:
    answer = asyncio.Event()
    subscriber.answers("/orders", [after(answer, 410)])
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        await post(mesh, "1")
        store.outage = "the test takes it away"
        answer.set()
        await until(lambda: mesh._triggers[KEY].gate.state.phase == "paused")
        store.outage = None

        await until(lambda: mesh._triggers[KEY].pause is not None)
        assert await paused(mesh) is not None


async def test_an_attempt_from_before_a_change_does_not_undo_that_the_subscriber_is_gone(
    subscriber: Subscriber, store: Store
) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    busy = after(first, reply(429, {"Retry-After": "60"}))
    gone = after(second, 410)
    subscriber.answers_as_told(
        "/orders", lambda each: busy if each.header("ce-id") == "1" else gone
    )
    async with running(make_trigger("orders", subscriber.url("/orders"), parallelism=1)) as mesh:
        await post(mesh, "1")
        await until(lambda: got(subscriber) == ["1"])
        former = mesh._triggers[KEY]
        await mesh.apply(desired(make_trigger("orders", subscriber.url("/orders"), parallelism=2)))
        await post(mesh, "2")
        await until(lambda: got(subscriber) == ["1", "2"])
        store.outage = "the test takes it away"
        second.set()
        await until(lambda: mesh._triggers[KEY].gate.state.phase == "paused")
        first.set()
        await until(lambda: former.gate.state.phase == "held")
        store.outage = None

        await until(lambda: mesh._triggers[KEY].pause is not None)
        assert await paused(mesh) is not None


@pytest.mark.usefixtures("store")
async def test_what_nobody_has_is_neither_paused_nor_resumed(subscriber: Subscriber) -> None:
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        for refused in (mesh.pause("default/order", ASKED), mesh.resume("default/order")):
            with pytest.raises(UnknownTrigger, match="did you mean 'default/orders'"):
                await refused


async def test_while_the_store_is_gone_nothing_is_paused_or_resumed(
    subscriber: Subscriber, store: Store
) -> None:
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        store.outage = "the test takes it away"
        for refused in (mesh.pause(KEY, ASKED), mesh.resume(KEY)):
            with pytest.raises(ChannelUnavailable, match="takes it away"):
                await refused
        store.outage = None

        assert mesh._triggers[KEY].gate.state.phase == "running"


async def test_what_is_paused_while_the_channel_is_asked_stays_paused(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        pauses = store.channels[BROKER.key].pauses
        before = await pauses.all()

        async def answers_late() -> Mapping[str, Pause]:
            asked.set()
            await answer.wait()
            return before

        with monkeypatch.context() as patched:
            patched.setattr(pauses, "all", answers_late)
            asked_by_hand = asyncio.create_task(mesh._pausing.heed(list(mesh._triggers.values())))
            await asked.wait()
            await mesh.pause(KEY, ASKED)
            answer.set()
            await asked_by_hand

        assert mesh._triggers[KEY].gate.state.why == ASKED


async def test_a_trigger_that_is_resumed_while_its_pause_is_stored_goes_on(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing, stored, is_stored = asyncio.Event(), asyncio.Event(), asyncio.Event()
    subscriber.answers("/orders", [410, 200])
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        pauses = store.channels[BROKER.key].pauses
        put = pauses.put

        async def stores_late(trigger: str, pause: Pause) -> None:
            storing.set()
            await stored.wait()
            await put(trigger, pause)
            is_stored.set()

        with monkeypatch.context() as patched:
            patched.setattr(pauses, "put", stores_late)
            await post(mesh, "1")
            await storing.wait()
            await mesh.resume(KEY)
            stored.set()
            await is_stored.wait()
            await until(lambda: not pauses._pauses)
            await post(mesh, "2")
            await until(lambda: got(subscriber) == ["1", "2"])

        assert mesh._triggers[KEY].pause is None


@pytest.mark.usefixtures("store")
async def test_a_pause_that_is_there_before_the_trigger_holds_from_the_start(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    async with running() as mesh:
        pause = Pause(why=ASKED, since=datetime.now(UTC))
        await mesh.channel(BROKER.key).pauses.put(KEY, pause)
        await mesh.apply(desired(orders, make_trigger("other", subscriber.url("/other"))))
        await post(mesh, "1")
        await until(lambda: got(subscriber, "/other") == ["1"])

        assert mesh._triggers[KEY].gate.state.why == ASKED
        assert await waiting(mesh) == 1
        assert got(subscriber) == []


@pytest.mark.usefixtures("store")
async def test_a_subscriber_that_was_gone_before_a_change_undoes_no_pause_by_hand(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "_LOOKS_EVERY", 1_000.0)
    subscriber.answers("/orders", [410])
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        await post(mesh, "1")
        await until(lambda: bool(mesh._pausing._gone))
        await mesh.apply(desired(make_trigger("orders", subscriber.url("/elsewhere"))))
        await mesh.pause(KEY, ASKED)
        await mesh._pausing._store_the_gone()
        await mesh._pausing.heed(mesh._triggers.values())

        stored = await paused(mesh)
        assert stored is not None
        assert stored.why == ASKED
        assert (await state(mesh)).phase == "paused"


@pytest.mark.usefixtures("store")
async def test_a_pause_by_hand_that_falls_into_the_storing_of_a_410_stays(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "_LOOKS_EVERY", 1_000.0)
    subscriber.answers("/orders", [410])
    async with running(make_trigger("orders", subscriber.url("/orders"))) as mesh:
        pauses = mesh.channel(BROKER.key).pauses
        put = pauses.put

        async def put_late(trigger: str, pause: Pause) -> None:
            monkeypatch.setattr(pauses, "put", put)
            await mesh.pause(KEY, ASKED)
            await put(trigger, pause)

        await post(mesh, "1")
        await until(lambda: bool(mesh._pausing._gone))
        monkeypatch.setattr(pauses, "put", put_late)
        await mesh._pausing._store_the_gone()
        await mesh._pausing.heed(mesh._triggers.values())

        stored = await paused(mesh)
        assert stored is not None
        assert stored.why == ASKED


async def state(mesh: Mesh) -> TriggerState:
    (broker,) = (await mesh.status()).brokers
    (trigger,) = broker.triggers
    return trigger.state
