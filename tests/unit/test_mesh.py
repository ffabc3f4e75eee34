from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Self

import pytest

from broker.errors import CemeshError, ChannelUnavailable, UnknownBroker
from broker.event import Event
from broker.mesh import Mesh, departed
from broker.ports import Refusal
from broker.trigger import Access, Broker, DeliveryPolicy, Desired, Target, Trigger
from tests.services.subscribers import Subscriber, after, hang
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

WHY = Refusal(destination="http://a/", reason="400 Bad Request", status=400, body=b"", attempts=1)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    install(monkeypatch, store=store)
    return store


@pytest.fixture
async def mesh(store: Store) -> AsyncIterator[Mesh]:
    async with make_mesh() as mesh:
        yield mesh


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


def desired(*triggers: Trigger, brokers: tuple[Broker, ...] = (BROKER,)) -> Desired:
    return Desired(
        brokers={each.key: each for each in brokers}, triggers={each.key: each for each in triggers}
    )


async def post(mesh: Mesh, event: Event, broker: str = BROKER.key) -> None:
    """Do what the ingress does."""
    entrance = mesh.find(broker)
    assert entrance is not None, f"{broker} takes no events"
    await entrance.emit([event])


def ids(subscriber: Subscriber, path: str) -> list[str | None]:
    return [each.header("ce-id") for each in subscriber.received if each.path == path]


# --- changing ------------------------------------------------------------------------------


class Breaking:
    """Sinks that cannot be made, each for its own reason."""

    fault: Exception

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def sink(self, *_: object) -> None:
        raise self.fault


@pytest.mark.parametrize("fault", [CemeshError("no certificate"), ZeroDivisionError("a bug")])
async def test_a_change_whose_sinks_cannot_be_made_changes_nothing(
    mesh: Mesh, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    orders = make_trigger("orders", subscriber.url("/old"))
    await mesh.apply(desired(orders))
    monkeypatch.setattr("broker.plugins.sinks", lambda scheme: Breaking)
    monkeypatch.setattr(Breaking, "fault", fault, raising=False)

    with pytest.raises(CemeshError, match=str(fault)):
        await mesh.apply(
            desired(
                make_trigger("orders", subscriber.url("/new")),
                make_trigger("bad", "pigeon://loft"),
                brokers=(BROKER, Broker(key="default/more")),
            )
        )

    assert mesh.find("default/more") is None
    await post(mesh, make_event("1"))
    await subscriber.received_at("/old", 1)
    [running] = (await mesh.status()).brokers
    assert [each.subscriber for each in running.triggers] == [orders.subscriber.url]


async def test_a_change_whose_channel_cannot_be_opened_changes_nothing(
    mesh: Mesh, subscriber: Subscriber, store: Store
) -> None:
    await mesh.apply(desired(make_trigger("orders", subscriber.url("/old"))))
    store.outage = "the disk is full"
    changed = desired(
        make_trigger("orders", subscriber.url("/new")), brokers=(Broker(key="default/more"), BROKER)
    )

    with pytest.raises(ChannelUnavailable, match="the disk is full"):
        await mesh.apply(changed)

    store.outage = None
    await post(mesh, make_event("1"))
    await subscriber.received_at("/old", 1)
    await mesh.apply(changed)
    await post(mesh, make_event("2"))
    await subscriber.received_at("/new", 1)


async def test_a_new_broker_takes_events_once_its_triggers_have_subscribed(
    mesh: Mesh, subscriber: Subscriber, store: Store
) -> None:
    channel = store.channels[BROKER.key] = HeldChannel(store)
    channel.open.clear()
    change = asyncio.create_task(
        mesh.apply(desired(make_trigger("orders", subscriber.url("/orders"))))
    )
    # Each time the loop comes round: nothing is taken that the trigger would miss.
    for _ in range(100):
        await asyncio.sleep(0)
        assert mesh.find(BROKER.key) is None
    channel.open.set()
    await change

    await post(mesh, make_event("1"))
    await subscriber.received_at("/orders", 1)


async def test_a_broker_whose_channel_changes_loses_no_event_on_the_way(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Store(), Store()
    install(monkeypatch, store=old, other=new)
    channel = new.channels[BROKER.key] = HeldChannel(new)
    channel.open.clear()
    orders = make_trigger("orders", subscriber.url("/orders"))
    async with make_mesh() as mesh:
        await mesh.apply(desired(orders))
        moved = Broker(key=BROKER.key, channel="other")
        change = asyncio.create_task(mesh.apply(desired(orders, brokers=(moved,))))
        for number in range(20):
            await asyncio.sleep(0.005)
            await post(mesh, make_event(f"during-{number}"))
        channel.open.set()
        await change
        await post(mesh, make_event("after"))
        await subscriber.received_at("/orders", 21)

        await until(lambda: old.channels[BROKER.key].gone == [orders.key])
        assert await channel.accepted() == 1


async def test_a_trigger_that_is_removed_gets_nothing_while_others_are_still_to_subscribe(
    mesh: Mesh, subscriber: Subscriber, store: Store
) -> None:
    kept = make_trigger("kept", subscriber.url("/kept"))
    await mesh.apply(desired(kept, make_trigger("gone", subscriber.url("/gone"))))
    channel = store.channels[BROKER.key]
    channel.open.clear()
    change = asyncio.create_task(
        mesh.apply(desired(kept, make_trigger("new", subscriber.url("/new"))))
    )
    async with asyncio.timeout(30):
        while len((await mesh.status()).brokers[0].triggers) > 1:
            await asyncio.sleep(0)
    await post(mesh, make_event("1"))
    await subscriber.received_at("/kept", 1)
    channel.open.set()
    await change
    await mesh.drain()

    assert ids(subscriber, "/gone") == []


async def test_a_trigger_that_moves_to_another_broker_is_taken_off_its_first(
    mesh: Mesh, subscriber: Subscriber, store: Store
) -> None:
    more = Broker(key="default/more")
    url = subscriber.url("/orders")
    await mesh.apply(desired(make_trigger("orders", url), brokers=(BROKER, more)))
    moved = make_trigger("orders", url, broker=more.key)
    await mesh.apply(desired(moved, brokers=(BROKER, more)))

    await until(lambda: store.channels[BROKER.key].gone == ["default/orders"])
    await post(mesh, make_event("1"))
    await post(mesh, make_event("2"), broker=more.key)
    await subscriber.received_at("/orders", 1)
    assert ids(subscriber, "/orders") == ["2"]
    assert store.channels[more.key].gone == []


async def test_a_trigger_that_left_the_files_while_no_mesh_ran_is_taken_off(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_trigger("kept", subscriber.url("/kept"))
    async with make_mesh() as before:
        await before.apply(desired(kept, make_trigger("gone", subscriber.url("/gone"))))
    monkeypatch.setattr(departed, "_STRANGERS_STAY", 0)
    async with make_mesh() as after_it:
        await after_it.apply(desired(kept))
        await until(lambda: store.channels[BROKER.key].gone == ["default/gone"])


async def test_it_is_taken_off_at_once_where_no_other_process_can_know_of_it(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "shared", False)
    kept = make_trigger("kept", subscriber.url("/kept"))
    async with make_mesh() as before:
        await before.apply(desired(kept, make_trigger("gone", subscriber.url("/gone"))))
    async with make_mesh() as after_it:
        await after_it.apply(desired(kept))

        assert store.channels[BROKER.key].gone == ["default/gone"]


async def test_what_another_process_knew_first_is_not_taken_off_by_one_that_is_behind(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_trigger("kept", subscriber.url("/kept"))
    new, newer = (make_trigger(each, subscriber.url(f"/{each}")) for each in ("new", "newer"))
    async with make_mesh() as ahead, make_mesh() as behind:
        await ahead.apply(desired(kept, new))
        await behind.apply(desired(kept))  # which begins, and may hear of it within a while
        await ahead.apply(desired(kept, new, newer))
        monkeypatch.setattr(departed, "_STRANGERS_STAY", 0)
        await behind.apply(desired(kept, make_trigger("other", subscriber.url("/other"))))
        await behind.apply(desired(kept, new, newer))
        channel = store.channels[BROKER.key]
        await until(lambda: channel.gone == ["default/other"])  # which it has known itself

        await behind.apply(desired(kept, new))
        await until(lambda: channel.gone == ["default/other", "default/newer"])


async def test_only_what_differs_is_begun_anew(
    mesh: Mesh, subscriber: Subscriber, store: Store
) -> None:
    same = make_trigger("same", subscriber.url("/same"), parallelism=1)
    await mesh.apply(desired(same, make_trigger("orders", subscriber.url("/a"), parallelism=2)))
    await mesh.apply(desired(same, make_trigger("orders", subscriber.url("/b"), parallelism=3)))
    await mesh.apply(desired(same, make_trigger("orders", subscriber.url("/b"), parallelism=3)))

    assert store.channels[BROKER.key].windows == [1, 2, 3]


async def test_a_trigger_that_cannot_be_taken_off_its_channel_is_told_and_the_mesh_goes_on(
    mesh: Mesh, subscriber: Subscriber, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    kept = make_trigger("kept", subscriber.url("/kept"))
    await mesh.apply(desired(kept, make_trigger("gone", subscriber.url("/gone"))))
    store.channels[BROKER.key].fault = ChannelUnavailable("the disk is full")

    with caplog.at_level(logging.WARNING):
        await mesh.apply(desired(kept))
        await until(lambda: "trigger not taken off its channel" in caplog.messages)

    await post(mesh, make_event("1"))
    await subscriber.received_at("/kept", 1)
    assert ids(subscriber, "/gone") == []


async def test_a_trigger_that_returns_while_its_last_attempt_is_under_way_stays_on_its_channel(
    mesh: Mesh, subscriber: Subscriber, store: Store
) -> None:
    gate = asyncio.Event()
    orders = make_trigger("orders", subscriber.answers("/orders", [after(gate, 200), 200]))
    await mesh.apply(desired(orders))
    await post(mesh, make_event("1"))
    await subscriber.received_at("/orders", 1)

    await mesh.apply(desired())
    await mesh.apply(desired(orders))
    await post(mesh, make_event("2"))
    await subscriber.received_at("/orders", 2)
    gate.set()
    channel = store.channels[BROKER.key]
    async with asyncio.timeout(30):
        while (await channel.books())[orders.key].delivered < 2:
            await asyncio.sleep(0.005)

    assert ids(subscriber, "/orders") == ["1", "2"]
    assert channel.gone == []


# --- stopping ------------------------------------------------------------------------------


async def test_hurried_it_breaks_off_what_is_under_way_and_finds_it_again(
    store: Store, subscriber: Subscriber
) -> None:
    url = subscriber.answers("/orders", [hang(), hang(), 200])
    patient = DeliveryPolicy(timeout=timedelta(hours=1))
    before = make_trigger("orders", url, delivery=patient, parallelism=1)
    now = make_trigger("orders", url, delivery=patient, parallelism=2)
    async with make_mesh(drain_timeout=timedelta(hours=1)) as mesh:
        await mesh.apply(desired(before))
        await post(mesh, make_event("1"))
        await subscriber.received_at("/orders", 1)
        await mesh.apply(desired(now))  # so that one run is leaving, and one running
        await post(mesh, make_event("2"))
        await subscriber.received_at("/orders", 2)
        draining = asyncio.create_task(mesh.drain())
        await until(lambda: bool(mesh.find(BROKER.key)))
        mesh.hurry()
        async with asyncio.timeout(30):
            await draining

    async with make_mesh() as mesh:
        await mesh.apply(desired(now))
        await subscriber.received_at("/orders", 4)
        assert set(ids(subscriber, "/orders")[2:]) == {"1", "2"}


async def test_what_comes_in_while_it_drains_is_found_at_the_next_start(
    store: Store, subscriber: Subscriber
) -> None:
    gate = asyncio.Event()
    orders = make_trigger("orders", subscriber.answers("/orders", [after(gate, 200), 200]))
    async with make_mesh() as mesh:
        await mesh.apply(desired(orders))
        await post(mesh, make_event("1"))
        await subscriber.received_at("/orders", 1)
        draining = asyncio.create_task(mesh.drain())
        async with asyncio.timeout(30):
            while not await mesh.not_ready():
                await asyncio.sleep(0)
        await post(mesh, make_event("2"))
        gate.set()
        await draining
        assert ids(subscriber, "/orders") == ["1"]

    async with make_mesh() as mesh:
        await mesh.apply(desired(orders))
        await subscriber.received_at("/orders", 2)
        assert ids(subscriber, "/orders") == ["1", "2"]


# --- looking on ----------------------------------------------------------------------------


async def test_it_is_ready_from_the_first_change_on_while_its_channels_are_there(
    store: Store,
) -> None:
    async with make_mesh() as mesh:
        assert await mesh.not_ready() == ["the mesh is starting"]
        await mesh.apply(desired())
        assert await mesh.not_ready() == []
        store.outage = "the disk is full"
        assert await mesh.not_ready() == ["broker default/default: the disk is full"]
        assert (await mesh.status()).brokers[0].unavailable == "the disk is full"
        store.outage = None
        assert await mesh.not_ready() == []
    assert await mesh.not_ready() == ["the mesh is stopping"]


async def test_the_status_tells_what_runs_and_what_is_under_way(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    gate = asyncio.Event()
    orders = make_trigger("orders", subscriber.answers("/orders", [after(gate, 200)]))
    await mesh.apply(desired(orders, brokers=(BROKER, Broker(key="default/more"))))
    await post(mesh, make_event("1"))
    await subscriber.received_at("/orders", 1)

    first, second = (await mesh.status()).brokers
    gate.set()

    assert (first.key, first.channel, first.accepted) == ("default/default", "store", 1)
    assert (second.key, second.triggers) == ("default/more", [])
    [trigger] = first.triggers
    assert (trigger.key, trigger.broker) == ("default/orders", "default/default")
    assert (trigger.in_flight, trigger.books.waiting) == (1, 1)


async def test_an_unknown_broker_has_no_channel(mesh: Mesh) -> None:
    await mesh.apply(desired())

    with pytest.raises(UnknownBroker, match="default/other"):
        mesh.channel("default/other")


async def test_the_clients_of_all_brokers_are_known(mesh: Mesh) -> None:
    access = Access(bearer={"shop": "secret"})
    closed = Broker(key="default/closed", access=access)
    await mesh.apply(desired(brokers=(BROKER, closed)))

    assert list(mesh.clients()) == [access]
    found = mesh.find("default/closed")
    assert found is not None
    assert found.broker is closed


# --- redriving -----------------------------------------------------------------------------


async def bury(store: Store, trigger: Trigger, event: Event) -> str:
    """Have the trigger give the event up, and return the id of the dead letter."""
    channel = await store.channel(BROKER.key, {}, {})
    async with channel.subscribe(trigger.key, filter=trigger.filter, window=1) as cursor:
        await channel.append([event])
        cursor.bury(await anext(cursor.claims()), WHY)
    [*_, letter] = await channel.dead_letters.list()
    return letter.id


async def test_a_dead_letter_is_redriven_with_its_hops_counted_anew(
    store: Store, subscriber: Subscriber
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    other = make_trigger("other", subscriber.url("/other"))
    letter = await bury(store, orders, make_event("1", hops=255))
    async with make_mesh() as mesh:
        await mesh.apply(desired(orders, other))
        async with mesh.channel(BROKER.key).tail() as appended:
            result = await mesh.redrive(BROKER.key, [letter, "none"])
            assert (await anext(appended)).hops == 0

        assert result.redriven == [letter]
        assert result.kept == {"none": "there is no such dead letter"}
        await subscriber.received_at("/orders", 1)
        assert ids(subscriber, "/other") == []
        assert await mesh.channel(BROKER.key).dead_letters.list() == []


async def test_a_dead_letter_is_redriven_as_another_event_to_its_trigger_alone(
    store: Store, subscriber: Subscriber
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    other = make_trigger("other", subscriber.url("/other"))
    letter = await bury(store, orders, make_event("1"))
    async with make_mesh() as mesh:
        await mesh.apply(desired(orders, other))
        store.outage = "the disk is full"
        with pytest.raises(ChannelUnavailable):
            await mesh.redrive_edited(BROKER.key, letter, make_event("2"))
        store.outage = None
        assert len(await mesh.channel(BROKER.key).dead_letters.list()) == 1

        result = await mesh.redrive_edited(BROKER.key, letter, make_event("2"))
        again = await mesh.redrive_edited(BROKER.key, letter, make_event("3"))

        assert (result.redriven, result.kept) == ([letter], {})
        assert again.kept == {letter: "there is no such dead letter"}
        await subscriber.received_at("/orders", 1)
        assert ids(subscriber, "/orders") == ["2"]
        assert ids(subscriber, "/other") == []
        assert await mesh.channel(BROKER.key).dead_letters.list() == []


async def test_a_dead_letter_whose_trigger_does_not_run_there_is_kept(
    store: Store, subscriber: Subscriber
) -> None:
    more = Broker(key="default/more")
    gone = make_trigger("gone", subscriber.url("/gone"))
    moved = make_trigger("moved", subscriber.url("/moved"))
    letters = [await bury(store, each, make_event("1")) for each in (gone, moved)]
    async with make_mesh() as mesh:
        there = make_trigger("moved", subscriber.url("/moved"), broker=more.key)
        await mesh.apply(desired(there, brokers=(BROKER, more)))
        result = await mesh.redrive(BROKER.key, letters)

        assert result.redriven == []
        assert list(result.kept) == letters
        assert "default/gone does not run" in result.kept[letters[0]]
        assert "default/moved does not run" in result.kept[letters[1]]
        assert len(await mesh.channel(BROKER.key).dead_letters.list()) == 2


async def test_a_dead_letter_that_cannot_be_stored_again_is_kept(
    store: Store, subscriber: Subscriber
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    letter = await bury(store, orders, make_event("1"))
    async with make_mesh() as mesh:
        await mesh.apply(desired(orders))
        store.outage = "the disk is full"
        with pytest.raises(ChannelUnavailable):
            await mesh.redrive(BROKER.key, [letter])
        store.outage = None

        assert len(await mesh.channel(BROKER.key).dead_letters.list()) == 1


# --- the ways in ---------------------------------------------------------------------------


async def test_a_broker_can_be_the_subscriber_of_another(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    more = Broker(key="default/more")
    bridge = make_trigger("bridge", "broker://default/more")
    end = make_trigger("end", subscriber.url("/end"), broker=more.key)
    await mesh.apply(desired(bridge, end, brokers=(BROKER, more)))

    await post(mesh, make_event("1"))

    await subscriber.received_at("/end", 1)


async def test_a_dead_letter_sink_gets_what_its_trigger_gives_up(
    mesh: Mesh, subscriber: Subscriber
) -> None:
    broken = make_trigger(
        "broken",
        subscriber.answers("/broken", [400]),
        delivery=DeliveryPolicy(dead_letter=Target(url=subscriber.url("/letters"))),
    )
    await mesh.apply(desired(broken))

    await post(mesh, make_event("1"))

    [letter] = await subscriber.received_at("/letters", 1)
    assert letter.header("ce-cemeshtrigger") == "default/broken"
    channel = mesh.channel(BROKER.key)
    async with asyncio.timeout(30):
        while not (books := (await channel.books())[broken.key]).dead_lettered:
            await asyncio.sleep(0.005)
    assert (books.waiting, books.delivered) == (0, 0)
