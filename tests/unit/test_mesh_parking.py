"""What an ordered trigger gives up is parked: it holds its key up until somebody decides."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import pytest

from broker.errors import NotParked, UnknownTrigger
from broker.event import Event
from broker.mesh import Mesh
from broker.policy import Breaker, Limits
from broker.ports import BackendOptions, Books, DeadLetter
from broker.settings import Part
from broker.status import Order
from broker.trigger import Broker, DeliveryPolicy, Desired, Target, Trigger
from delivery import admission, parking
from tests.services.subscribers import Request, Script, Subscriber, reply
from tests.unit.meshes import (
    BROKER,
    NO_WAIT,
    Clock,
    Store,
    install,
    make_event,
    make_mesh,
    make_trigger,
    until,
)

KEY = "default/orders"
PARKS = replace(NO_WAIT, parks=True)
RETRY = Order(verb="retry", why="the schema is repaired")
SKIP = Order(verb="skip", why="it was a test order")
OPS = Broker(key="default/ops", takes_announcements=True)
REFUSED = f"422 {HTTPStatus(422).phrase}"  # Python 3.13 has RFC 9110's name of it


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "_PAUSE", timedelta(milliseconds=20))


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


class Meshes:
    """Meshes on one channel, one after the other, as restarts make them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @asynccontextmanager
    async def running(self, *triggers: Trigger) -> AsyncIterator[Mesh]:
        async with self._mesh() as mesh:
            await mesh.apply(desired(*triggers))
            yield mesh

    def _mesh(self) -> Mesh:
        if self._folder is None:
            return make_mesh()
        return Mesh(
            channel="sqlite:",
            options=BackendOptions(
                data_dir=str(self._folder),
                retention_age=timedelta(days=1),
                retention_bytes=1 << 30,
            ),
            drain_timeout=timedelta(seconds=10),
        )


@pytest.fixture(params=["memory", "embedded"])
def meshes(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Meshes:
    if request.param == "embedded":
        return Meshes(tmp_path)
    install(monkeypatch, store=Store())
    return Meshes(None)


def orders(subscriber: Subscriber, policy: DeliveryPolicy = PARKS) -> Trigger:
    url = subscriber.url("/orders")
    return replace(make_trigger("orders", url, delivery=policy), ordered=True)


def desired(*triggers: Trigger) -> Desired:
    return Desired(
        brokers={BROKER.key: BROKER, OPS.key: OPS}, triggers={each.key: each for each in triggers}
    )


def refusing(subscriber: Subscriber, *ids: str, status: int = 422) -> set[str]:
    """Have the subscriber refuse the events of these ids, for as long as they are in the set."""
    refused = set(ids)

    def answer(request: Request) -> Script:
        poison = request.header("ce-id") in refused
        return reply(status, body=b"no such product") if poison else reply(200)

    subscriber.answers("/orders", answer)
    return refused


def keyed(id: str) -> Event:
    """Return an event of the key that its id begins with."""
    return make_event(id).with_attributes({"partitionkey": id[0]}, {})


async def post(mesh: Mesh, *ids: str) -> None:
    await mesh.channel(BROKER.key).append([keyed(each) for each in ids])


def got(subscriber: Subscriber, path: str = "/orders") -> list[str | None]:
    return [each.header("ce-id") for each in subscriber.received if each.path == path]


async def parked(mesh: Mesh) -> list[str]:
    return [each.id for each in await mesh.parked(KEY)]


async def until_parked(mesh: Mesh, *ids: str) -> None:
    """Return once these are parked, and nothing else."""
    async with asyncio.timeout(30):
        while sorted(await parked(mesh)) != list(ids):
            await asyncio.sleep(0.005)


async def waiting(mesh: Mesh) -> int:
    return (await books(mesh)).waiting


async def books(mesh: Mesh) -> Books:
    return (await mesh.channel(BROKER.key).books())[KEY]


async def settled(mesh: Mesh, *, delivered: int, dead: int, waiting: int) -> None:
    """Return once the books say that; in the end they balance."""
    wanted = (delivered, dead, waiting)
    async with asyncio.timeout(30):
        while (found := await books(mesh)) and wanted != (
            found.delivered,
            found.dead_lettered,
            found.waiting,
        ):
            await asyncio.sleep(0.005)
    assert found.unaccounted == 0


async def dead_letter(mesh: Mesh) -> DeadLetter:
    """Return the one dead letter, as soon as it is in the store."""
    async with asyncio.timeout(30):
        while not (found := await mesh.channel(BROKER.key).dead_letters.list()):
            await asyncio.sleep(0.005)
    [letter] = found
    return letter


# --- parking -------------------------------------------------------------------------------


async def test_a_parked_event_holds_its_key_up_and_nothing_else(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2", "b1", "a3", "b2")
        await until_parked(mesh, "a1")
        await settled(mesh, delivered=2, dead=0, waiting=3)

        [event] = await mesh.parked(KEY)
        [status] = (await mesh.status()).brokers[0].triggers

    assert got(subscriber).count("a1") == 1
    assert [each for each in got(subscriber) if each != "a1"] == ["b1", "b2"]
    assert (event.id, event.source, event.key) == ("a1", "/tests", "a")
    assert (event.why.status, event.why.attempts) == (422, 1)
    assert event.why.body == b"no such product"
    assert status.parked == 1


async def test_what_has_used_up_its_retries_is_parked_too(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1", status=503)
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2")
        await until_parked(mesh, "a1")

        [event] = await mesh.parked(KEY)

    assert got(subscriber) == ["a1"] * 3
    assert (event.why.reason, event.why.attempts) == ("503 Service Unavailable", 3)


async def test_an_event_without_a_key_is_given_up_as_ever(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "1")
    async with meshes.running(orders(subscriber)) as mesh:
        await mesh.channel(BROKER.key).append([make_event("1"), make_event("2")])
        await settled(mesh, delivered=1, dead=1, waiting=0)

        assert await parked(mesh) == []


# --- what operators do with it -------------------------------------------------------------


async def test_a_retry_gives_a_parked_event_fresh_attempts_before_its_key_goes_on(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refused = refusing(subscriber, "a1", status=503)
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2", "a3")
        await until_parked(mesh, "a1")
        ordered = await mesh.order(KEY, RETRY, id="a1", source=None)
        await until(lambda: len(got(subscriber)) == 6)
        await until_parked(mesh, "a1")
        assert len(got(subscriber)) == 6
        refused.clear()
        await mesh.order(KEY, RETRY, id="a1", source="/tests")
        await settled(mesh, delivered=3, dead=0, waiting=0)

        assert await parked(mesh) == []

    assert [each.id for each in ordered] == ["a1"]
    assert got(subscriber) == ["a1"] * 7 + ["a2", "a3"]


async def test_a_skip_gives_a_parked_event_up_and_its_key_goes_on(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2", "a3")
        await until_parked(mesh, "a1")
        await mesh.order(KEY, SKIP, id="a1", source=None)
        await settled(mesh, delivered=2, dead=1, waiting=0)
        letter = await dead_letter(mesh)

        assert await parked(mesh) == []

    assert got(subscriber) == ["a1", "a2", "a3"]
    said = f"{REFUSED}; skipped by an operator: it was a test order"
    assert (letter.event.id, letter.why.reason) == ("a1", said)
    assert (letter.why.status, letter.why.attempts) == (422, 1)


async def test_what_is_skipped_goes_to_the_dead_letter_sink_until_that_takes_it(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1")
    letters = Target(url=subscriber.answers("/letters", [503, 200]))
    async with meshes.running(orders(subscriber, replace(PARKS, dead_letter=letters))) as mesh:
        await post(mesh, "a1", "a2")
        await until_parked(mesh, "a1")
        await mesh.order(KEY, SKIP, id="a1", source=None)
        await settled(mesh, delivered=1, dead=1, waiting=0)

    assert [each.path for each in subscriber.received] == [
        "/orders",
        "/letters",
        "/letters",
        "/orders",
    ]
    reason = unquote(subscriber.received[2].header("ce-cemesherrorreason") or "")
    assert reason == f"{REFUSED}; skipped by an operator: it was a test order"


async def test_all_that_is_parked_is_retried_at_once(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refused = refusing(subscriber, "a1", "b1", "c1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "b1", "c1", "a2", "b2", "c2")
        await until_parked(mesh, "a1", "b1", "c1")
        refused.clear()
        await mesh.order(KEY, RETRY, id=None, source=None)
        await settled(mesh, delivered=6, dead=0, waiting=0)

    for key in "abc":
        assert [each for each in got(subscriber) if each and each[0] == key] == [
            f"{key}1",
            f"{key}1",
            f"{key}2",
        ]


async def test_what_is_not_parked_here_is_refused(meshes: Meshes, subscriber: Subscriber) -> None:
    refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        twin = Event({**keyed("a1").attributes, "source": "/others", "partitionkey": "b"})
        await mesh.channel(BROKER.key).append([keyed("a1"), twin])
        await until_parked(mesh, "a1", "a1")

        with pytest.raises(NotParked, match="no event a2 is parked here: ask the dispatcher"):
            await mesh.order(KEY, SKIP, id="a2", source=None)
        with pytest.raises(NotParked, match="no event a1 of /other is parked here"):
            await mesh.order(KEY, SKIP, id="a1", source="/other")
        with pytest.raises(NotParked, match="name the source: /others, /tests"):
            await mesh.order(KEY, SKIP, id="a1", source=None)
        with pytest.raises(UnknownTrigger, match="default/order"):
            await mesh.order("default/order", SKIP, id="a1", source=None)
        await mesh.order(KEY, SKIP, id="a1", source="/others")
        await settled(mesh, delivered=0, dead=1, waiting=1)
        assert [each.source for each in await mesh.parked(KEY)] == ["/tests"]


async def test_a_process_that_runs_no_triggers_says_who_does(
    monkeypatch: pytest.MonkeyPatch, subscriber: Subscriber
) -> None:
    install(monkeypatch, store=Store())
    async with make_mesh(Part.INGRESS) as mesh:
        await mesh.apply(desired(orders(subscriber)))

        with pytest.raises(NotParked, match=f"{KEY} does not run here: ask a dispatcher"):
            await mesh.order(KEY, RETRY, id=None, source=None)


# --- restarts and changes ------------------------------------------------------------------


async def test_what_is_parked_stays_so_over_restarts_with_why_and_without_an_attempt(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refused = refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2")
        await until_parked(mesh, "a1")
        [before] = await mesh.parked(KEY)

    async with meshes.running(orders(subscriber)) as mesh:
        await until_parked(mesh, "a1")
        [after] = await mesh.parked(KEY)
        assert await waiting(mesh) == 2
        assert got(subscriber) == ["a1"]
        refused.clear()
        await mesh.order(KEY, RETRY, id="a1", source=None)
        await settled(mesh, delivered=2, dead=0, waiting=0)

    assert after.why == before.why
    assert got(subscriber) == ["a1", "a1", "a2"]


async def test_a_change_of_the_trigger_keeps_what_is_parked(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1")
    trigger = orders(subscriber)
    async with meshes.running(trigger) as mesh:
        await post(mesh, "a1", "a2")
        await until_parked(mesh, "a1")
        await mesh.apply(desired(replace(trigger, parallelism=3)))
        await until_parked(mesh, "a1")

        await mesh.order(KEY, SKIP, id="a1", source=None)
        await settled(mesh, delivered=1, dead=1, waiting=0)

    assert got(subscriber) == ["a1", "a2"]


async def test_a_trigger_that_parks_no_more_gives_up_what_it_had_parked(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2")
        await until_parked(mesh, "a1")
        await mesh.apply(desired(orders(subscriber, NO_WAIT)))
        await settled(mesh, delivered=1, dead=1, waiting=0)
        letter = await dead_letter(mesh)

    assert letter.why.reason == REFUSED


async def test_a_parked_event_that_grows_too_old_is_given_up(
    meshes: Meshes, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(admission, "datetime", clock)
    refusing(subscriber, "a1")
    limits = Limits(max_age=timedelta(hours=1))
    async with meshes.running(orders(subscriber, replace(PARKS, limits=limits))) as mesh:
        await post(mesh, "a1")
        await until_parked(mesh, "a1")
        clock.ahead = timedelta(days=1)
        await settled(mesh, delivered=0, dead=1, waiting=0)
        letter = await dead_letter(mesh)

        assert await parked(mesh) == []

    assert letter.why.reason.startswith(f"{REFUSED}; parked, and now older than 3600")


# --- the gate, and what is told ------------------------------------------------------------


async def test_a_parked_event_is_no_attempt_and_pauses_nothing(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refusing(subscriber, "a1", status=503)
    breaker = Breaker(failures=4, pause=timedelta(minutes=1))
    async with meshes.running(orders(subscriber, replace(PARKS, breaker=breaker))) as mesh:
        await post(mesh, "a1")  # three failures
        await until_parked(mesh, "a1")
        looked = mesh._triggers[KEY].parking._places["/tests", "a1"].seen
        await until(lambda: mesh._triggers[KEY].parking._places["/tests", "a1"].seen > looked)
        await post(mesh, "b1")
        await settled(mesh, delivered=1, dead=0, waiting=1)

        assert mesh._triggers[KEY].gate.state.phase == "running"


async def test_what_is_ordered_of_a_paused_trigger_is_done_when_it_goes_on(
    meshes: Meshes, subscriber: Subscriber
) -> None:
    refused = refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1", "a2")
        await until_parked(mesh, "a1")
        await mesh.pause(KEY, "asked")
        refused.clear()
        await mesh.order(KEY, RETRY, id="a1", source=None)
        await until_parked(mesh)
        assert got(subscriber) == ["a1"]

        await mesh.resume(KEY)
        await settled(mesh, delivered=2, dead=0, waiting=0)


async def test_what_a_paused_trigger_has_parked_stays_listed(
    meshes: Meshes, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "_GONE_AFTER", 0.2)
    refusing(subscriber, "a1")
    async with meshes.running(orders(subscriber)) as mesh:
        await post(mesh, "a1")
        await until_parked(mesh, "a1")
        await mesh.pause(KEY, "asked")
        await post(mesh, "b1")  # which waits at the gate, and whatever else comes behind it
        place = mesh._triggers[KEY].parking._places["/tests", "a1"]
        await until(lambda: time.monotonic() - place.seen > 0.3)

        assert await parked(mesh) == ["a1"]


async def test_each_step_is_a_line_in_the_log_and_an_event(
    meshes: Meshes, subscriber: Subscriber, caplog: pytest.LogCaptureFixture
) -> None:
    refusing(subscriber, "a1")
    watch = make_trigger("watch", subscriber.url("/watch"), broker=OPS.key, parallelism=1)
    with caplog.at_level(logging.INFO, "cemesh.delivery"):
        async with meshes.running(orders(subscriber), watch) as mesh:
            await post(mesh, "a1")
            await until_parked(mesh, "a1")
            await mesh.order(KEY, RETRY, id="a1", source=None)
            await until(lambda: len(got(subscriber)) == 2)
            await until_parked(mesh, "a1")
            assert len(got(subscriber)) == 2
            await mesh.order(KEY, SKIP, id="a1", source=None)
            await settled(mesh, delivered=0, dead=1, waiting=0)
            await until(lambda: len(got(subscriber, "/watch")) == 4)

    changes = ["parked", "retried", "parked", "skipped"]
    whys = [None, RETRY.why, None, SKIP.why]
    lines = [each for each in caplog.records if each.message.startswith("event ")]
    assert [each.message for each in lines] == [f"event {each}" for each in changes]
    assert [getattr(each, "why", None) for each in lines] == whys
    for each in map(vars, lines):
        assert (each["trigger"], each["event_id"], each["source"]) == (KEY, "a1", "/tests")
        assert (each["key"], each["refused"]) == ("a", REFUSED)
    told = [each for each in subscriber.received if each.path == "/watch"]
    types = [f"dev.cemesh.event.{each}" for each in changes]
    assert [each.header("ce-type") for each in told] == types
    assert [data(each)["why"] for each in told] == whys
    assert data(told[0]) == {
        "trigger": KEY,
        "broker": BROKER.key,
        "subscriber": subscriber.url("/orders"),
        "id": "a1",
        "source": "/tests",
        "key": "a",
        "attempts": 1,
        "refused": REFUSED,
        "why": None,
    }


def data(request: Request) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(request.body)
    return found
