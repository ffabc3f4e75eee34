"""A gate before a dispatcher, on a channel in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.dispatcher import Dispatcher
from broker.event import Event
from broker.filters import EVERYTHING
from broker.policy import Breaker, Limits, Rate
from broker.ports import Accepted, Answer, Books, Claim, Refused
from broker.status import RUNNING, TriggerState
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery import admission
from delivery import gate as gates
from delivery.delivery import Delivery
from delivery.gate import Gate
from tests.unit.meshes import NO_WAIT, OPTIONS, Clock, make_event, make_trigger, until

OK = Accepted()
DOWN = Refused(reason="503 Service Unavailable", status=503)
QUICK = Breaker(failures=2, pause=timedelta(milliseconds=40), max_pause=timedelta(milliseconds=80))


def later(seconds: float) -> Refused:
    return replace(DOWN, retry_after=timedelta(seconds=seconds))


@pytest.fixture
async def channel() -> MemoryChannel:
    return await MemoryBackend(OPTIONS).channel("default/default", {}, {})


class Taker:
    """A sink that answers in turn, and with the last answer from then on, once it is let go."""

    def __init__(self, *answers: Answer) -> None:
        self.begun: list[tuple[str, float]] = []
        self.crowds: list[int] = []  # how many were under way as each had begun
        self._under_way = 0
        self.go = asyncio.Event()
        self.go.set()
        self._answers = list(answers) or [OK]

    @property
    def ids(self) -> list[str]:
        return [each for each, _ in self.begun]

    async def attempt(self, event: Event) -> Answer:
        self.begun.append((event.id, asyncio.get_running_loop().time()))
        self._under_way += 1
        self.crowds.append(self._under_way)
        await self.go.wait()
        await asyncio.sleep(0)
        self._under_way -= 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Watched(Gate):
    """A gate that counts how often it is asked."""

    asked = 0

    def admit(self, claim: Claim) -> bool:
        self.asked += 1
        return super().admit(claim)


@dataclass(kw_only=True)
class Run:
    """A trigger that is dispatched; ``states`` are those that its gate has told."""

    gate: Watched
    dispatcher: Dispatcher
    task: asyncio.Task[None]
    states: list[TriggerState] = field(default_factory=list)

    @property
    def phases(self) -> list[str]:
        return [each.phase for each in self.states]

    async def end(self) -> None:
        self.dispatcher.stop()
        async with asyncio.timeout(30):
            await self.task


@asynccontextmanager
async def running(
    channel: MemoryChannel, taker: Taker, policy: DeliveryPolicy, *, letters: Taker | None = None
) -> AsyncIterator[Run]:
    """Dispatch the trigger ``default/orders``, in a subscription that lasts."""
    if letters is not None:
        policy = replace(policy, dead_letter=Target(url="http://letters.test/"))
    trigger = make_trigger("orders", "http://nowhere.test/", delivery=policy, parallelism=10)
    states: list[TriggerState] = []
    gate = Watched(trigger, on_change=states.append)
    step = delivery(trigger, taker, letters, gate).step
    dispatcher = Dispatcher(step, gate)
    async with channel.subscribe(trigger.key, filter=EVERYTHING, window=10) as cursor:
        task = asyncio.create_task(dispatcher.run(cursor))
        run = Run(gate=gate, dispatcher=dispatcher, task=task, states=states)
        try:
            yield run
        finally:
            taker.go.set()
            await run.end()
            gate.close()


def delivery(trigger: Trigger, taker: Taker, letters: Taker | None, gate: Gate) -> Delivery:
    async def emit(_: Sequence[Event]) -> None:
        raise AssertionError("there are no replies")

    return Delivery(trigger, subscriber=taker, dead_letter=letters, emit=emit, heard=gate.heard)


async def settled(channel: MemoryChannel, holds: Callable[[Books], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds((await channel.books())["default/orders"]):
            await asyncio.sleep(0.005)


async def delivered(channel: MemoryChannel, count: int) -> None:
    await settled(channel, lambda kept: kept.delivered == count)


def some(numbers: Iterable[int], size: int = 0) -> list[Event]:
    return [replace(make_event(str(number)), data=bytes(size)) for number in numbers]


# --- what is shut --------------------------------------------------------------------------


async def test_while_a_trigger_is_paused_its_events_wait_with_no_attempt_counted(
    channel: MemoryChannel,
) -> None:
    taker = Taker()
    async with running(channel, taker, NO_WAIT) as run:
        run.gate.pause("somebody says so")
        await channel.append(some(range(21)))
        await until(lambda: run.gate.asked > 0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (taker.begun, run.gate.asked) == ([], 1)
        assert run.gate.state == TriggerState(phase="paused", why="somebody says so")

        run.gate.resume()
        await delivered(channel, 21)

    assert sorted(taker.ids, key=int) == [str(number) for number in range(21)]
    assert run.states == [TriggerState(phase="paused", why="somebody says so"), RUNNING]


async def test_stopped_while_it_is_shut_it_ends_at_once_and_holds_nothing_back(
    channel: MemoryChannel,
) -> None:
    async with running(channel, Taker(), NO_WAIT) as run:
        run.gate.pause("somebody says so")
        await channel.append(some(range(3)))

        await run.end()
        async with channel.subscribe("default/orders", filter=EVERYTHING, window=10) as cursor:
            claims = cursor.claims()
            found: list[Claim] = [await anext(claims) for _ in range(3)]

    assert [(each.event.id, each.attempts) for each in found] == [("0", 0), ("1", 0), ("2", 0)]


async def test_retry_after_holds_every_event_of_the_trigger(channel: MemoryChannel) -> None:
    taker = Taker(later(0.3), OK)
    async with running(channel, taker, NO_WAIT) as run:
        await channel.append(some([1]))
        await until(lambda: run.phases[:1] == ["held"])
        await channel.append(some([2, 3]))
        await delivered(channel, 3)

    times = [at for _, at in taker.begun]
    assert len(times) == 4
    assert min(times[1:]) - times[0] >= 0.299
    held, resumed = run.states
    assert (held.phase, held.why) == ("held", "503 Service Unavailable")
    assert resumed == RUNNING


@pytest.mark.parametrize(
    ("longest", "phases"),
    [(timedelta(0), []), (timedelta(milliseconds=50), ["held", "running"])],
    ids=["not at all", "up to its bound"],
)
async def test_retry_after_is_heeded_no_longer_than_the_policy_lets_it(
    channel: MemoryChannel, longest: timedelta, phases: Sequence[str]
) -> None:
    taker = Taker(later(3600), OK)
    async with running(channel, taker, replace(NO_WAIT, retry_after_max=longest)) as run:
        await channel.append(some([1]))
        await delivered(channel, 1)

    assert run.phases == phases


async def test_what_is_gone_pauses_the_trigger_until_somebody_resumes_it(
    channel: MemoryChannel,
) -> None:
    taker = Taker(Refused(reason="410 Gone", status=410), OK)
    async with running(channel, taker, NO_WAIT) as run:
        await channel.append(some([1]))
        await settled(channel, lambda kept: kept.dead_lettered == 1)
        await channel.append(some([2]))
        assert run.gate.state == TriggerState(phase="paused", why="410 Gone")

        run.gate.resume()
        await delivered(channel, 1)

    assert taker.ids == ["1", "2"]


async def test_what_goes_to_the_dead_letter_sink_does_not_wait_for_the_subscriber(
    channel: MemoryChannel,
) -> None:
    taker, letters = Taker(Refused(reason="400 Bad Request", status=400)), Taker(DOWN, OK)
    letters.go.clear()
    async with running(channel, taker, NO_WAIT, letters=letters) as run:
        await channel.append(some([1]))
        await until(lambda: letters.ids == ["1"])
        run.gate.pause("somebody says so")
        letters.go.set()

        await settled(channel, lambda kept: kept.dead_lettered == 1)

    assert letters.ids == ["1", "1"]


# --- the breaker ---------------------------------------------------------------------------


async def test_a_trigger_pauses_by_itself_probes_and_recovers_and_says_so(
    channel: MemoryChannel, caplog: pytest.LogCaptureFixture
) -> None:
    taker = Taker(*[DOWN] * 11, OK)
    policy = replace(NO_WAIT, breaker=QUICK, retry=3)
    with caplog.at_level(logging.INFO, "cemesh.delivery"):
        async with running(channel, taker, policy) as run:
            await channel.append(some(range(20)))
            await delivered(channel, 20)
            await until(lambda: run.gate.state == RUNNING)

    assert run.phases == ["paused", "probing", "paused", "probing", "recovering", "running"]
    assert caplog.messages == [
        "trigger paused",
        "trigger probed",
        "trigger recovering",
        "trigger resumed",
    ]
    paused = vars(caplog.records[0])
    assert paused["trigger"] == "default/orders"
    assert paused["why"] == "2 attempts in a row failed: 503 Service Unavailable"
    assert 0 <= paused["seconds"] <= 0.1


async def test_resumed_a_trigger_that_paused_by_itself_goes_on_at_once(
    channel: MemoryChannel,
) -> None:
    long = Breaker(failures=2, pause=timedelta(hours=1), max_pause=timedelta(hours=1))
    taker = Taker(DOWN, DOWN, OK)
    async with running(channel, taker, replace(NO_WAIT, breaker=long)) as run:
        await channel.append(some([1, 2]))
        await until(lambda: run.phases == ["paused"])

        run.gate.resume()
        await delivered(channel, 2)

    assert run.phases == ["paused", "recovering"]


async def test_failures_that_are_not_in_a_row_pause_nothing(channel: MemoryChannel) -> None:
    taker = Taker(DOWN, OK, DOWN, OK, DOWN, OK, DOWN, OK)
    async with running(channel, taker, replace(NO_WAIT, breaker=QUICK)) as run:
        for number in range(4):
            await channel.append(some([number]))
            await delivered(channel, number + 1)

    assert taker.ids == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert run.states == []


async def test_a_verdict_about_one_event_pauses_nothing(channel: MemoryChannel) -> None:
    taker = Taker(*[Refused(reason="404 Not Found", status=404)] * 20, OK)
    async with running(channel, taker, replace(NO_WAIT, breaker=QUICK)) as run:
        await channel.append(some(range(10)))
        await delivered(channel, 10)

    assert run.states == []


async def test_an_attempt_that_is_broken_off_before_it_begins_leaves_its_place(
    channel: MemoryChannel,
) -> None:
    policy = replace(NO_WAIT, limits=Limits(bytes_in_flight=10))
    gate = Gate(make_trigger("orders", "http://nowhere.test/", delivery=policy))
    async with channel.subscribe("default/orders", filter=EVERYTHING, window=10) as cursor:
        await channel.append(some([1, 2], size=10))
        claims = cursor.claims()
        first, second = await anext(claims), await anext(claims)
        assert gate.admit(first)
        assert not gate.admit(second)

        gate.clear()

        assert gate.admit(second)


async def test_holds_that_follow_one_another_are_told_by_few_lines(
    channel: MemoryChannel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "_TELL", 60.0)
    taker = Taker(*[later(0.01)] * 5, OK)
    with caplog.at_level(logging.INFO, "cemesh.delivery"):
        async with running(channel, taker, replace(NO_WAIT, retry=10)) as run:
            await channel.append(some([1]))
            await delivered(channel, 1)

    assert run.phases.count("held") == 5
    assert caplog.messages == ["trigger held", "trigger resumed"]


async def test_a_gate_that_is_closed_tells_no_more(channel: MemoryChannel) -> None:
    closed: list[TriggerState] = []
    open_: list[TriggerState] = []
    trigger = make_trigger("orders", "http://nowhere.test/", delivery=NO_WAIT)
    gone, other = Gate(trigger, on_change=closed.append), Gate(trigger, on_change=open_.append)
    async with channel.subscribe(trigger.key, filter=EVERYTHING, window=10) as cursor:
        await channel.append(some([1]))
        claim = await anext(cursor.claims())
        for gate in (gone, other):
            gate.heard(claim, later(0.05))
        gone.close()

        await until(lambda: open_[-1] == RUNNING)

    assert [each.phase for each in closed] == ["held"]


# --- limits --------------------------------------------------------------------------------


async def test_a_burst_of_attempts_waits_for_nothing(channel: MemoryChannel) -> None:
    taker = Taker()
    rate = Rate(per_second=1 / 3600, burst=3)
    async with running(channel, taker, replace(NO_WAIT, limits=Limits(rate=rate))):
        await channel.append(some(range(7)))
        await until(lambda: len(taker.begun) == 3)


async def test_attempts_keep_to_the_rate_after_their_burst(channel: MemoryChannel) -> None:
    taker = Taker()
    rate = Rate(per_second=20, burst=3)
    # No attempt is before this, however late one is noted.
    start = asyncio.get_running_loop().time()
    async with running(channel, taker, replace(NO_WAIT, limits=Limits(rate=rate))):
        await channel.append(some(range(7)))
        await delivered(channel, 7)

    assert taker.begun[6][1] - start >= 4 / 20 - 0.002


async def test_the_bytes_under_way_are_bounded_and_what_is_larger_goes_alone(
    channel: MemoryChannel,
) -> None:
    taker = Taker()
    taker.go.clear()
    limits = Limits(bytes_in_flight=100)
    async with running(channel, taker, replace(NO_WAIT, limits=limits)):
        await channel.append([*some([1, 2], size=50), *some([3], size=101), *some([4], size=1)])
        await until(lambda: taker.ids == ["1", "2"])
        taker.go.set()

        await delivered(channel, 4)

    assert taker.ids == ["1", "2", "3", "4"]
    assert taker.crowds == [1, 2, 1, 1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(admission, "datetime", clock)
    return clock


A_DAY = timedelta(days=1)


async def test_an_event_that_is_too_old_is_given_up_without_an_attempt(
    channel: MemoryChannel, clock: Clock
) -> None:
    taker = Taker()
    limits = Limits(max_age=timedelta(hours=1))
    async with running(channel, taker, replace(NO_WAIT, limits=limits)) as run:
        await channel.append(some([1]))
        await delivered(channel, 1)
        run.gate.pause("somebody says so")
        await channel.append(some([2, 3]))
        clock.ahead = A_DAY
        run.gate.resume()
        await settled(channel, lambda kept: kept.dead_lettered == 2)

    assert taker.ids == ["1"]
    letter, _ = await channel.dead_letters.list()
    assert letter.why.reason.startswith("older than 3600 s: it was accepted at 20")
    assert (letter.why.destination, letter.why.attempts) == ("http://nowhere.test/", 0)


async def test_events_that_are_too_old_do_not_wait_for_the_rate(
    channel: MemoryChannel, clock: Clock
) -> None:
    limits = Limits(rate=Rate(per_second=0.001, burst=1), max_age=timedelta(hours=1))
    async with running(channel, Taker(), replace(NO_WAIT, limits=limits)) as run:
        await channel.append(some([1]))
        await delivered(channel, 1)
        run.gate.pause("somebody says so")
        await channel.append(some([2, 3]))
        clock.ahead = A_DAY
        run.gate.resume()

        await settled(channel, lambda kept: kept.dead_lettered == 2)


async def test_events_that_are_too_old_do_not_count_for_the_rate(
    channel: MemoryChannel, clock: Clock
) -> None:
    limits = Limits(rate=Rate(per_second=2, burst=1), max_age=timedelta(hours=1))
    async with running(channel, Taker(), replace(NO_WAIT, limits=limits)) as run:
        await channel.append(some([1]))
        await delivered(channel, 1)
        run.gate.pause("somebody says so")
        await channel.append(some(range(2, 102)))
        clock.ahead = A_DAY
        run.gate.resume()

        await settled(channel, lambda kept: kept.dead_lettered == 100)
        clock.ahead = timedelta()
        await channel.append(some([102]))
        await delivered(channel, 2)
