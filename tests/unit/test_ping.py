"""PingSource: an event at every tick, and what it says when a tick comes to nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.mesh.health import Health
from broker.mesh.sourcing import Context
from broker.ports import Channel, Emitted, SourceContext
from broker.trigger import Source
from cemesh.testing import running
from sources.ping import PingSource, PingSpec

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


class Stopped(Exception):
    """Raised by the clock when the test has seen enough."""


class Clock:
    """A clock that only sleeping moves; ``until`` is where it stops the source."""

    def __init__(self, until: datetime, start: datetime = START) -> None:
        self.time = start
        self.until = until
        self.stays = asyncio.Event()
        self._going_on = asyncio.Event()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        if self.time > self.until:
            raise Stopped

    async def sleep_or_stay(self, seconds: float) -> None:
        """Sleep, if that ends before the time at which the clock stands still."""
        until = self.time + timedelta(seconds=seconds)
        while until > self.until:
            self._going_on.clear()
            self.stays.set()
            await self._going_on.wait()
        self.time = max(self.time, until)
        await asyncio.sleep(0)

    def go_on(self, until: datetime) -> None:
        self.until = until
        self.stays.clear()
        self._going_on.set()


class Store:
    """Takes events, or refuses them as ``answers`` says: one answer for each call, then none."""

    def __init__(self, clock: Clock, answers: Sequence[Exception | timedelta] = ()) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.offered: list[Event] = []
        self.stored: list[tuple[datetime, Event]] = []

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        raise AssertionError("a tick that comes to nothing is given up at the next one")

    async def at_once(self, given: Emitted | Iterable[Emitted]) -> None:
        assert isinstance(given, Event)
        events = [given]
        self.offered += events
        answer = self.answers.pop(0) if self.answers else timedelta(0)
        if isinstance(answer, Exception):
            raise answer
        self.clock.time += answer
        self.stored += [(self.clock.time, event) for event in events]


def context() -> Context:
    source = Source(kind="PingSource", key="shop/tick", broker="shop/orders", spec=None)
    return Context(source, channel=_none, health=Health("PingSource shop/tick"))


def _none() -> Channel:
    raise AssertionError("a PingSource has nothing to do with a channel but to emit")


def spec(**fields: object) -> PingSpec:
    return PingSpec.model_validate({"schedule": "* * * * *", **fields})


async def run(
    clock: Clock, answers: Sequence[Exception | timedelta] = (), **fields: object
) -> Store:
    """Run a source of that spec until the clock stops it."""
    store = Store(clock, answers)
    source = PingSource(spec(**fields), context(), now=clock.now, sleep=clock.sleep)
    with pytest.raises(Stopped):
        await source.run(store)
    return store


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return START.replace(hour=hour, minute=minute, second=second)


async def test_an_event_is_emitted_at_every_tick() -> None:
    store = await run(Clock(at(12, 3)))

    assert [when for when, _ in store.stored] == [at(12, 1), at(12, 2), at(12, 3)]


async def test_a_sixth_field_in_front_counts_seconds() -> None:
    store = await run(Clock(at(12, 0, 45)), schedule="*/5 * * * * *")

    assert [when for when, _ in store.stored] == [at(12, 0, 35), at(12, 0, 40), at(12, 0, 45)]


async def test_the_event_is_the_one_that_knative_sends() -> None:
    store = await run(Clock(at(12, 1)), contentType="text/plain", data="hello")

    ((_, event),) = store.stored
    assert {name: value for name, value in event.attributes.items() if name != "id"} == {
        "specversion": "1.0",
        "type": "dev.knative.sources.ping",
        "source": "/apis/v1/namespaces/shop/pingsources/tick",
        "time": "2026-03-01T12:01:00Z",
        "datacontenttype": "text/plain",
    }
    assert event.data == b"hello"


async def test_every_event_has_an_id_of_its_own() -> None:
    store = await run(Clock(at(12, 3)))

    assert len({event.id for _, event in store.stored}) == 3


@pytest.mark.parametrize(
    ("fields", "content_type", "data"),
    [
        ({}, None, None),
        ({"data": '{"a": 1 }'}, "application/json", b'{"a": 1 }'),
        ({"data": "plain"}, None, b"plain"),
        ({"data": "NaN"}, None, b"NaN"),
        ({"data": "<a/>", "contentType": "text/xml"}, "text/xml", b"<a/>"),
        ({"dataBase64": "/wA="}, None, b"\xff\x00"),
        ({"dataBase64": "/w\nA=", "contentType": "image/png"}, "image/png", b"\xff\x00"),
    ],
)
async def test_the_payload_is_what_the_spec_says(
    fields: dict[str, object], content_type: str | None, data: bytes | None
) -> None:
    store = await run(Clock(at(12, 1)), (), **fields)

    ((_, event),) = store.stored
    assert event.attributes.get("datacontenttype") == content_type
    assert event.data == data


async def test_the_schedule_is_one_of_its_time_zone() -> None:
    clock = Clock(START + timedelta(days=1))

    store = await run(clock, schedule="0 9 * * *", timezone="America/New_York")

    assert [when for when, _ in store.stored] == [at(14, 0)]


@pytest.mark.parametrize("schedule", ["30 1 * * *", "0 30 1 * * *"])
async def test_the_hour_that_comes_twice_brings_no_tick_of_the_past(schedule: str) -> None:
    start = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 01:15 in London, for the second time
    clock = Clock(start + timedelta(hours=25), start=start)

    store = await run(clock, schedule=schedule, timezone="Europe/London")

    assert all(when > start for when, _ in store.stored)
    assert len({when for when, _ in store.stored}) == len(store.stored)


@pytest.mark.parametrize("refusal", [ChannelUnavailable, ChannelFull])
async def test_a_refused_event_is_offered_again_as_it_was(
    refusal: Callable[[str], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    store = await run(Clock(at(12, 1, 30)), [refusal("the disk is full")] * 3)

    ((when, event),) = store.stored
    assert when == at(12, 1, 3)
    assert store.offered == [event] * 4
    assert [record.message for record in caplog.records] == ["ping refused"]


async def test_an_event_that_is_refused_until_the_next_tick_is_given_up_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    down = [ChannelUnavailable("down", retry_after=timedelta(seconds=30))] * 3

    store = await run(Clock(at(12, 2, 30)), down)

    given_up, stored = store.offered[0], store.offered[-1]
    assert [when for when, _ in store.stored] == [at(12, 2)]
    assert given_up != stored
    (told,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert told.message == "ping given up"
    assert vars(told)["event_id"] == given_up.id
    assert vars(told)["why"] == "down"


async def test_ticks_that_pass_while_the_store_hangs_are_told_and_not_made_up_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = await run(Clock(at(12, 7)), [timedelta(minutes=4, seconds=30)])

    assert [when for when, _ in store.stored] == [at(12, 5, 30), at(12, 6), at(12, 7)]
    (told,) = caplog.records
    assert told.message == "pings missed"
    assert vars(told)["since"] == at(12, 2)


async def test_a_clock_that_is_put_back_repeats_no_tick() -> None:
    store = await run(Clock(at(12, 3)), [timedelta(minutes=-5)])

    # The first was stored at 12:01, when the clock went back to 11:56.
    assert [when for when, _ in store.stored][1:] == [at(12, 2), at(12, 3)]


async def test_the_extension_of_a_sleep_is_bounded_so_that_a_set_clock_is_noticed() -> None:
    slept: list[float] = []

    class Recording(Clock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            await super().sleep(seconds)

    await run(Recording(at(15, 0)), schedule="0 15 * * *")

    assert max(slept) <= 60


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "* * * *"},
        {"schedule": "@every 5s"},
        {"schedule": "60 * * * *"},
        {"schedule": "0 0 31 2 *"},
        {"schedule": ""},
        {"timezone": "Nowhere/Land"},
        {"timezone": "../etc/passwd"},
        {"timezone": "Europe"},
        {"contentType": "xyz"},
        {"contentType": "application/json", "data": "{"},
        {"contentType": "application/vnd.a+json; x=y", "data": "NaN"},
        {"data": "a", "dataBase64": "YQ=="},
        {"dataBase64": "not base64"},
        {"dataBase64": 1234},
        {"data": 5},
        {"jsonData": "{}"},
    ],
)
def test_a_spec_that_cannot_work_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)


# --- catching up ---------------------------------------------------------------------------


def clocked(clock: Clock) -> type[PingSource]:
    class Clocked(PingSource):
        def __init__(self, spec: PingSpec, context: SourceContext) -> None:
            super().__init__(spec, context, now=clock.now, sleep=clock.sleep_or_stay)

    return Clocked


def times(events: Iterable[Event]) -> list[str]:
    return [event.attributes["time"].removeprefix("2026-03-01T") for event in events]


CAUGHT_UP = [("all", ["12:03:00Z", "12:04:00Z", "12:05:00Z"]), ("last", ["12:05:00Z"])]


@pytest.mark.parametrize(("catch_up", "made_up"), CAUGHT_UP)
async def test_ticks_that_pass_while_it_is_down_are_made_up_for(
    catch_up: str, made_up: list[str]
) -> None:
    clock = Clock(at(12, 2))
    async with running(clocked(clock), spec(catchUp=catch_up)) as source:
        assert times(await source.events(2)) == ["12:01:00Z", "12:02:00Z"]
        await source.stop()

        clock.time, clock.until = at(12, 5, 30), at(12, 6)
        source.start()
        came = await source.events(len(made_up) + 1)

    assert times(came) == [*made_up, "12:06:00Z"]
    assert [event.id for event in came] == [event.attributes["time"] for event in came]


async def test_the_first_ticks_are_made_up_for_as_well() -> None:
    clock = Clock(START)
    async with running(clocked(clock), spec(catchUp="all")) as source:
        await asyncio.wait_for(clock.stays.wait(), 30)
        await source.stop()

        clock.time = clock.until = at(12, 2)
        source.start()
        assert times(await source.events(2)) == ["12:01:00Z", "12:02:00Z"]


async def test_what_is_too_long_ago_is_not_made_up_for_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock(at(12, 1))
    async with running(clocked(clock), spec(catchUp="all", catchUpWithin="PT2M")) as source:
        await source.events(1)
        await source.stop()

        clock.time = clock.until = at(13, 0, 30)
        source.start()
        assert times(await source.events(2)) == ["12:59:00Z", "13:00:00Z"]

    [told] = [record for record in caplog.records if record.message == "pings missed"]
    assert told.__dict__["since"] == at(12, 2)


@pytest.mark.parametrize(("catch_up", "made_up"), CAUGHT_UP)
async def test_ticks_that_pass_while_the_store_is_away_are_made_up_for(
    catch_up: str, made_up: list[str]
) -> None:
    clock = Clock(at(12, 2))
    async with running(clocked(clock), spec(catchUp=catch_up)) as source:
        await source.events(2)
        await asyncio.wait_for(clock.stays.wait(), 30)
        with source.outage():
            clock.go_on(until=at(12, 3))
            await source.until("unhealthy")
            clock.time = clock.until = at(12, 5, 30)
        offered = "12:03:00Z"  # which waited for the store
        expected = [offered, *(each for each in made_up if each != offered)]
        assert times(await source.events(len(expected))) == expected
