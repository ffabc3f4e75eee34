"""What triggers do is told as CloudEvents, in brokers that ask for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.errors import ChannelUnavailable, TooLarge
from broker.event import Event
from broker.mesh import Mesh, announcing, pausing
from broker.policy import Breaker
from broker.trigger import Broker, Desired, Trigger
from tests.services.subscribers import Request, Subscriber
from tests.unit.meshes import (
    BROKER,
    NO_WAIT,
    Store,
    install,
    make_event,
    make_mesh,
    make_trigger,
    until,
)

KEY = "default/orders"
OPS = Broker(key="default/ops", takes_announcements=True)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pausing, "_LOOKS_EVERY", 0.02)
    monkeypatch.setattr(announcing, "_AGAIN_AFTER", 0.02)


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
async def running(subscriber: Subscriber, orders: Trigger | None = None) -> AsyncIterator[Mesh]:
    """Run a trigger, and one on the broker where it is told what that does."""
    orders = orders or make_trigger("orders", subscriber.url("/orders"))
    async with make_mesh() as mesh:
        await mesh.apply(watched_beside(subscriber, orders))
        yield mesh


def watched_beside(subscriber: Subscriber, *triggers: Trigger) -> Desired:
    watch = make_trigger("watch", subscriber.url("/watch"), broker=OPS.key, parallelism=1)
    return Desired(
        brokers={each.key: each for each in (BROKER, OPS)},
        triggers={each.key: each for each in (*triggers, watch)},
    )


def told(subscriber: Subscriber) -> list[tuple[str | None, str | None]]:
    """Return the types of what was announced, and why."""
    return [(each.header("ce-type"), json.loads(each.body)["why"]) for each in watched(subscriber)]


def watched(subscriber: Subscriber) -> list[Request]:
    return [each for each in subscriber.received if each.path == "/watch"]


def data(request: Request) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(request.body)
    return found


@pytest.mark.usefixtures("store")
async def test_a_trigger_that_is_paused_and_resumed_is_told_as_events(
    subscriber: Subscriber,
) -> None:
    async with running(subscriber) as mesh:
        await mesh.pause(KEY, "asked")
        await until(lambda: len(watched(subscriber)) == 1)
        await mesh.resume(KEY)
        await until(lambda: len(watched(subscriber)) == 2)

    paused, resumed = watched(subscriber)
    assert paused.header("ce-type") == "dev.cemesh.trigger.paused"
    assert resumed.header("ce-type") == "dev.cemesh.trigger.resumed"
    assert paused.header("ce-subject") == paused.header("ce-cemeshtrigger") == KEY
    assert paused.header("ce-source") == (
        "/apis/eventing.knative.dev/v1/namespaces/default/brokers/default"
    )
    assert data(paused) == {
        "trigger": KEY,
        "broker": BROKER.key,
        "subscriber": subscriber.url("/orders"),
        "phase": "paused",
        "why": "asked",
        "until": None,
    }


@pytest.mark.usefixtures("store")
async def test_a_breaker_that_opens_and_closes_is_told(subscriber: Subscriber) -> None:
    subscriber.answers("/orders", [503, 503, 200])
    soon = timedelta(milliseconds=20)
    policy = replace(NO_WAIT, retry=10, breaker=Breaker(failures=2, pause=soon, max_pause=soon))
    orders = make_trigger("orders", subscriber.url("/orders"), delivery=policy, parallelism=1)
    async with running(subscriber, orders) as mesh:
        await mesh.channel(BROKER.key).append([make_event(str(number)) for number in range(9)])
        await until(lambda: ("dev.cemesh.trigger.resumed", None) in told(subscriber))

    types = [each for each, _ in told(subscriber)]
    assert types[0] == "dev.cemesh.trigger.paused"
    assert types[-1] == "dev.cemesh.trigger.resumed"


async def test_what_cannot_be_stored_is_told_as_soon_as_it_can(
    subscriber: Subscriber, store: Store
) -> None:
    async with running(subscriber) as mesh:
        store.outage = "the test takes it away"
        mesh._triggers[KEY].gate.pause("for the test")
        await until(lambda: bool(mesh._announcing._waiting))
        store.outage = None

        await until(lambda: told(subscriber) == [("dev.cemesh.trigger.paused", "for the test")])


async def test_a_broker_that_cannot_store_it_holds_up_no_other(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Broker(key="default/aaa", takes_announcements=True)
    watch = make_trigger("watch", subscriber.url("/watch"), broker=OPS.key)
    orders = make_trigger("orders", subscriber.url("/orders"))
    async with make_mesh() as mesh:
        await mesh.apply(
            Desired(
                brokers={each.key: each for each in (out, BROKER, OPS)},
                triggers={each.key: each for each in (orders, watch)},
            )
        )

        async def refuse(*_: object, **__: object) -> None:
            raise ChannelUnavailable("the test refuses it")

        with monkeypatch.context() as patched:
            patched.setattr(store.channels[out.key], "append", refuse)
            await mesh.pause(KEY, "asked")
            await until(lambda: told(subscriber) == [("dev.cemesh.trigger.paused", "asked")])
        await until(lambda: not mesh._announcing._waiting)

        assert await mesh.channel(out.key).accepted() == 1


@pytest.mark.usefixtures("store")
async def test_of_a_pause_that_outlives_a_restart_the_end_is_told(subscriber: Subscriber) -> None:
    async with running(subscriber) as mesh:
        await mesh.pause(KEY, "asked")
        await until(lambda: len(watched(subscriber)) == 1)

    async with running(subscriber) as mesh:
        assert mesh._triggers[KEY].gate.state.phase == "paused"
        await mesh.resume(KEY)
        await mesh.pause(KEY, "again")
        await until(lambda: len(watched(subscriber)) == 3)

    assert told(subscriber) == [
        ("dev.cemesh.trigger.paused", "asked"),
        ("dev.cemesh.trigger.resumed", None),
        ("dev.cemesh.trigger.paused", "again"),
    ]


@pytest.mark.usefixtures("store")
async def test_a_trigger_that_goes_on_as_it_is_changed_is_told_to_go_on(
    subscriber: Subscriber,
) -> None:
    subscriber.answers("/orders", [410])
    async with running(subscriber) as mesh:
        await mesh.channel(BROKER.key).append([make_event("1")])
        await until(lambda: len(watched(subscriber)) == 1)

        elsewhere = make_trigger("orders", subscriber.url("/elsewhere"))
        await mesh.apply(watched_beside(subscriber, elsewhere))
        await until(lambda: len(watched(subscriber)) == 2)
        await mesh.pause(KEY, "asked")
        await until(lambda: len(watched(subscriber)) == 3)

    assert told(subscriber) == [
        ("dev.cemesh.trigger.paused", "410 Gone"),
        ("dev.cemesh.trigger.resumed", None),
        ("dev.cemesh.trigger.paused", "asked"),
    ]


@pytest.mark.usefixtures("store")
async def test_of_a_trigger_that_was_taken_away_nothing_is_remembered(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders"))
    async with running(subscriber, orders) as mesh:
        await mesh.pause(KEY, "asked")
        await until(lambda: len(watched(subscriber)) == 1)
        await mesh.apply(watched_beside(subscriber))

        assert KEY not in mesh._announcing._told


@pytest.mark.usefixtures("store")
async def test_what_a_subscriber_s_url_says_behind_its_path_is_not_told(
    subscriber: Subscriber,
) -> None:
    orders = make_trigger("orders", subscriber.url("/orders?code=sesame"))
    async with running(subscriber, orders) as mesh:
        await mesh.pause(KEY, "asked")
        await until(lambda: len(watched(subscriber)) == 1)

    assert data(watched(subscriber)[0])["subscriber"] == subscriber.url("/orders?…")


async def test_an_announcement_that_no_channel_takes_holds_no_other_up(
    subscriber: Subscriber, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(subscriber) as mesh:
        channel = store.channels[OPS.key]
        append = channel.append

        async def refuse_once(events: Sequence[Event]) -> None:
            monkeypatch.setattr(channel, "append", append)
            raise TooLarge("the test refuses it")

        monkeypatch.setattr(channel, "append", refuse_once)
        await mesh.pause(KEY, "asked")
        await mesh.resume(KEY)
        await until(lambda: told(subscriber) == [("dev.cemesh.trigger.resumed", None)])


async def test_what_waits_to_be_told_takes_bounded_memory(
    subscriber: Subscriber,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(announcing, "_MOST", 3)
    async with running(subscriber) as mesh:
        gate = mesh._triggers[KEY].gate
        store.outage = "the test takes it away"
        for _ in range(5):
            gate.pause("for the test")
            gate.resume()
        dropped = [each for each in caplog.records if each.message == "announcement lost"]
        store.outage = None
        await until(lambda: len(watched(subscriber)) == 3)

        assert len(dropped) == 7


@pytest.mark.usefixtures("store")
async def test_processes_that_heed_one_pause_tell_it_under_one_id(subscriber: Subscriber) -> None:
    async with running(subscriber) as mesh, running(subscriber) as other:
        await mesh.pause(KEY, "asked")
        await until(lambda: other._triggers[KEY].gate.state.phase == "paused")
        await until(lambda: len(watched(subscriber)) == 2)

    assert len({each.header("ce-id") for each in watched(subscriber)}) == 1


@pytest.mark.usefixtures("store")
async def test_where_no_broker_asks_for_it_nothing_is_told(subscriber: Subscriber) -> None:
    async with make_mesh() as mesh:
        await mesh.apply(
            Desired(
                brokers={BROKER.key: BROKER},
                triggers={KEY: make_trigger("orders", subscriber.url("/orders"))},
            )
        )
        await mesh.pause(KEY, "asked")

        assert not mesh._announcing._waiting
        assert await mesh.channel(BROKER.key).accepted() == 0
