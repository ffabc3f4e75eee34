"""What the processes of a broker tell each other over a stream of a real RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from aiormq import ConnectionInternalError

from broker.channels.clock import now
from broker.channels.rabbitmq import ledger as ledgers
from broker.channels.rabbitmq import replay, state
from broker.channels.rabbitmq.entries import Counts, Entry, Place, decode, encode
from broker.channels.rabbitmq.ledger import Sums
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.stamps import Stamps
from broker.channels.rabbitmq.state import Limits, State
from broker.channels.rabbitmq.steward import Steward
from broker.channels.rabbitmq.streams import Stream
from broker.codecs.amqp import Message
from broker.errors import ChannelFull, ChannelUnavailable
from tests.contract.rabbitmq import SOON, settings_of, until
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.rabbitmq.settings import Listeners
from tests.services.relay import Relay

_Kind = TypeVar("_Kind")

NAME = "state"
TINY = Limits(stream=60_000, segment=20_000)
"""Of a stream that the server cuts after some hundred entries."""

ROOMY = Limits()

HOUR = 3_600_000_000


@dataclass
class Process:
    """One process of several. What it reads may come another way than what it writes goes."""

    link: Link
    publishing: Publishing
    limits: Limits
    stamps: Stamps = field(default_factory=Stamps)

    def __post_init__(self) -> None:
        self.state = State(self.link, self.publishing, NAME, self.stamps, limits=self.limits)

    async def tell(self, delivered: int, trigger: str = "a") -> int:
        counts = Counts(delivered, 0, delivered, 0)
        return await self.state.write(Entry(counts={trigger: counts}))

    def delivered(self, trigger: str = "a") -> int:
        return self.sums(trigger).delivered

    def sums(self, trigger: str = "a") -> Sums:
        return self.state.ledger.sums(trigger, now=now(), alive_since=now() - HOUR, but="")


@asynccontextmanager
async def connected(
    url: str, *, reads_by: str | None = None, limits: Limits = ROOMY
) -> AsyncIterator[Process]:
    settings = settings_of(url)
    async with (
        Link(settings_of(reads_by or url), "test") as link,
        Publishing(settings) as publishing,
    ):
        yield Process(link, publishing, limits)


@asynccontextmanager
async def process(
    url: str, *, reads_by: str | None = None, limits: Limits = ROOMY
) -> AsyncIterator[Process]:
    async with connected(url, reads_by=reads_by, limits=limits) as it, it.state:
        yield it


async def offsets(it: Process) -> Sequence[int]:
    """Return where the entries are that the server keeps."""
    stream = Stream(it.link, NAME)
    async with aclosing(stream.read(None, await stream.end())) as messages:
        return [each.offset async for each in messages]


async def written(it: Process) -> Sequence[Entry | None]:
    stream = Stream(it.link, NAME)
    async with aclosing(stream.read(None, await stream.end())) as messages:
        return [decode(each.body) async for each in messages]


async def append(it: Process, body: bytes) -> None:
    message = Message(body=body, headers={}, content_type=None)
    outgoing = Outgoing(message=message, stamp=it.stamps.new(), routing_key=NAME)
    assert not await it.publishing.publish([outgoing])


async def fill(it: Process, *, until_first: int = 1, sums_up: bool = True) -> None:
    """Write until the server has removed everything before that offset."""
    async with asyncio.timeout(SOON):
        await it.tell(1)
        while (await offsets(it))[0] < until_first:
            for _ in range(50):
                await it.tell(it.delivered() + 1)
                await it.state.barrier()
                if sums_up:
                    await it.state.sum_up()


@pytest.fixture
def frequent_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "SUMMED_UP_EVERY", 3_000)


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_PATIENCE", state._PATIENCE / 10)


# --- telling -------------------------------------------------------------------------------


async def test_what_one_process_tells_all_others_know(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        await one.state.write(
            Entry(
                counts={"a": Counts(1, 2, 4, 1, 6)},
                settled={"a": ["s"]},
                waits={"a": [(now() + HOUR, 5)]},
                places={"b": Place(gone=True)},
            )
        )
        await other.tell(10)
        await one.state.barrier()
        await other.state.barrier()

        async with process(rabbitmq) as later:
            for each in (one, other, later):
                assert each.sums() == Sums(
                    delivered=11, dead_lettered=2, matched=14, in_hand=1, put_off=5
                )
                assert each.state.ledger.was_settled("a", "s")
                assert each.state.ledger.floor("a") == 6
                assert each.state.ledger.triggers() == {"b": Place(gone=True)}


async def test_who_has_passed_a_barrier_knows_all_that_was_confirmed_before(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        for number in range(1, 50):
            await one.tell(number)
            await other.state.barrier()
            assert other.delivered() == number


async def test_who_has_noted_a_place_knows_it(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        for number in range(20):
            await one.state.note({"a": Place(since=number)})
            assert one.state.ledger.triggers() == {"a": Place(since=number)}


async def test_writes_at_the_same_time_are_stored_in_the_order_of_calls(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        numbers = await asyncio.gather(*(one.tell(each) for each in range(1, 21)))
        await one.state.barrier()

        assert one.delivered() == 20
        assert list(numbers) == sorted(numbers)
        assert [each.number for each in await written(one) if each] == list(range(1, 23))


async def test_barriers_at_the_same_time_share_one_entry(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        await one.state.barrier()
        before = len(await written(one))

        waiting = [asyncio.create_task(one.state.barrier()) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting)

        assert [each.cancelled() for each in waiting] == [True] + [False] * 19
        assert [each.exception() for each in waiting[1:]] == [None] * 19
        assert len(await written(one)) <= before + 2


async def test_what_others_write_to_the_stream_is_passed_over_and_told_once(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(rabbitmq) as one:
        await append(one, b"hello")
        await append(one, b"hello")
        await one.tell(1)
        await append(one, encode(Entry(process="strange")))
        await one.tell(2)
        await one.state.barrier()

        async with process(rabbitmq) as other:
            assert one.delivered() == other.delivered() == 2

    told = [each for each in caplog.records if "it is no entry" in each.message]
    assert [each.__dict__["offset"] for each in told] == [0, 0]


# --- summaries -----------------------------------------------------------------------------


@pytest.mark.usefixtures("frequent_summaries")
async def test_who_starts_after_the_stream_was_cut_knows_all_that_was_told(rabbitmq: str) -> None:
    async with process(rabbitmq, limits=TINY) as one, process(rabbitmq, limits=TINY) as other:
        await other.state.write(Entry(settled={"a": ["s"]}, places={"b": Place(gone=True)}))
        await other.tell(10_000, trigger="c")

        await fill(one)

        async with process(rabbitmq, limits=TINY) as later:
            assert later.state._replay._first is not None
            assert later.state._replay._first > (await offsets(one))[0]
            assert later.delivered() == one.delivered()
            assert later.sums("c") == one.sums("c") == Sums(delivered=10_000, matched=10_000)
            assert later.state.ledger.was_settled("a", "s")
            assert later.state.ledger.triggers() == {"b": Place(gone=True)}


async def test_nothing_is_summed_up_before_it_is_time(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        await one.tell(1)
        await one.state.barrier()

        await one.state.sum_up()

        assert [each.summary for each in await written(one) if each] == [None] * 3


async def test_a_stream_that_was_cut_behind_its_last_summary_is_refused_in_words(
    rabbitmq: str,
) -> None:
    async with process(rabbitmq, limits=TINY) as one:
        await fill(one, sums_up=False)

        with pytest.raises(ChannelUnavailable, match="has lost entries that no summary covers"):
            async with process(rabbitmq, limits=TINY):
                pass

        await one.state.barrier()
        assert one.delivered() > 100


@pytest.mark.usefixtures("frequent_summaries")
async def test_who_was_out_for_so_long_that_entries_are_gone_learns_them_from_a_summary(
    rabbitmq: str, rabbitmq_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    by_relay = rabbitmq_relay.in_url(rabbitmq)
    async with (
        process(rabbitmq, limits=TINY) as one,
        process(rabbitmq, reads_by=by_relay, limits=TINY) as other,
    ):
        await one.tell(1)
        await other.tell(1, trigger="b")
        await other.state.barrier()
        with rabbitmq_relay.cut():
            await other.tell(2, trigger="b")
            await fill(one, until_first=10)
            assert other.delivered() == 1

        await until(lambda: other.delivered() == one.delivered())
        await other.state.barrier()

        assert other.sums("b") == one.sums("b") == Sums(delivered=2, matched=2)
    assert any(each.message == "state not known" for each in caplog.records)


async def test_who_melted_and_goes_on_counts_once(
    rabbitmq: str, rabbitmq_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "SUMMED_UP_EVERY", 0)
    monkeypatch.setattr(ledgers, "_MELTS_AFTER", 0)
    by_relay = rabbitmq_relay.in_url(rabbitmq)
    async with process(rabbitmq) as one, process(rabbitmq, reads_by=by_relay) as other:
        await other.tell(3)
        await other.state.barrier()
        await one.state.barrier()
        with rabbitmq_relay.hung():
            await one.state.sum_up()
            assert one.state.ledger.number(other.stamps.process) == 0
            # It cannot know yet that it melted, so what it counts now is not counted.
            await other.tell(4)
            await one.state.barrier()
            assert one.delivered() == 3

        await until(lambda: one.delivered() == 4)

        await other.state.barrier()
        assert one.sums() == other.sums() == Sums(delivered=4, matched=4)
        await one.state.sum_up()
        await other.state.barrier()
        await other.tell(5)
        await one.state.barrier()
        assert one.sums() == Sums(delivered=5, matched=5)


# --- outages -------------------------------------------------------------------------------


async def test_a_stream_that_another_process_is_just_making_is_read_once_it_is_there(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = ConnectionInternalError(541, "INTERNAL_ERROR")
    end = Stream.end

    async def too_early(stream: Stream) -> int:
        """Do as RabbitMQ does then, which knows the stream by name alone."""
        monkeypatch.setattr(Stream, "end", end)
        assert stream.link._connection is not None
        await stream.link._connection.close(closed)
        raise ChannelUnavailable("it closed the connection: INTERNAL_ERROR") from closed

    async with process(rabbitmq) as one:
        await one.tell(1)
        monkeypatch.setattr(Stream, "end", too_early)

        async with process(rabbitmq) as other:
            assert other.delivered() == 1


async def test_reading_goes_on_where_it_was_after_a_connection_was_lost(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    by_relay = rabbitmq_relay.in_url(rabbitmq)
    async with process(rabbitmq) as one, process(rabbitmq, reads_by=by_relay) as other:
        for number in range(1, 4):
            await one.state.write(Entry(waits={"a": [(now() + HOUR, 1)]}))
            with rabbitmq_relay.cut():
                await one.tell(number)
                await one.state.barrier()
            await until(lambda: other.delivered() == one.delivered())
            assert other.sums().put_off == number


@pytest.mark.usefixtures("little_patience")
async def test_a_barrier_does_not_wait_for_a_connection_that_is_silent(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    async with process(rabbitmq, reads_by=rabbitmq_relay.in_url(rabbitmq)) as one:
        await one.state.barrier()

        with (
            rabbitmq_relay.hung(),
            pytest.raises(ChannelUnavailable, match="the stream 'state': what was written"),
        ):
            await one.state.barrier()

        await one.state.barrier()


async def test_a_stream_that_was_deleted_is_made_again_with_what_was_known(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        await one.tell(1)
        await other.tell(10)
        await one.state.barrier()
        await other.state.barrier()

        channel = await one.link.open_channel()
        await channel.queue_delete(NAME)
        with pytest.raises(ChannelUnavailable, match="is not there now"):
            await one.tell(2)

        await until(lambda: one.state._replay.lacks_a_summary)
        await one.state.sum_up()
        await one.tell(2)
        await until(lambda: other.delivered() == 12)
        async with process(rabbitmq) as later:
            assert one.delivered() == later.delivered() == 12
    assert any(each.message == "stream was deleted and is made again" for each in caplog.records)


async def soon(call: Callable[[], Awaitable[_Kind]]) -> _Kind:
    """Return what this returns, as soon as it does."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await call()
            except (ChannelUnavailable, ChannelFull):
                await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("little_patience")
async def test_all_is_known_over_a_restart_and_an_alarm_of_the_server(
    rabbitmq_server: RabbitMQServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cemesh.channel")
    with rabbitmq_server:
        url = rabbitmq_server.listeners.url()
        async with process(url) as one, process(url) as other:
            await one.tell(1)
            await other.tell(10)
            await asyncio.to_thread(rabbitmq_server.stop)
            with pytest.raises(ChannelUnavailable):
                await one.tell(2)
            with pytest.raises(ChannelUnavailable):
                await other.state.barrier()

            await asyncio.to_thread(rabbitmq_server.start)
            await soon(lambda: one.tell(3))
            await soon(other.state.barrier)
            assert other.delivered() == 13

            alarm = rabbitmq_server.memory_alarm()
            await asyncio.to_thread(alarm.__enter__)
            try:
                with pytest.raises(ChannelFull):
                    await one.tell(4)
                await other.state.barrier()
                assert other.delivered() == 13
                async with process(url) as later, candidate(url) as steward:
                    assert later.delivered() == 13
                    assert await steward.asked()
            finally:
                await asyncio.to_thread(alarm.__exit__, None, None, None)

            await soon(lambda: one.tell(5))
            await other.state.barrier()
            assert other.delivered() == 15


# --- the steward ---------------------------------------------------------------------------


STEWARD = "steward"


@dataclass
class Duty:
    """What a steward does, and how often it did it."""

    done: int = 0
    fails: bool = False

    async def __call__(self) -> None:
        self.done += 1
        if self.fails:
            raise ChannelUnavailable("not now")


@asynccontextmanager
async def candidate(
    url: str, *, reads_by: str | None = None, duty: Duty | None = None
) -> AsyncIterator[Steward]:
    async with (
        connected(url, reads_by=reads_by) as it,
        Steward(it.link, it.publishing, STEWARD, it.stamps, duty=duty or Duty()) as steward,
    ):
        yield steward


async def test_one_of_all_processes_is_the_steward_and_does_its_duty(
    rabbitmq: str, rabbitmq_listeners: Listeners
) -> None:
    duties = [Duty(), Duty(), Duty()]
    async with AsyncExitStack() as entered:
        first, *others = [
            await entered.enter_async_context(candidate(rabbitmq, duty=each)) for each in duties
        ]
        await until(lambda: duties[0].done >= 2)

        assert [await each.asked() for each in (first, *others)] == [True, False, False]
        assert [each.is_steward for each in (first, *others)] == [True, False, False]
        assert [each.done for each in duties[1:]] == [0, 0]
        assert errors_told(rabbitmq_listeners, rabbitmq) == []
        assert await refusals(rabbitmq_listeners, rabbitmq, others[0]) == 0


def errors_told(listeners: Listeners, url: str) -> list[str]:
    """Return the errors about the virtual host that the server has told in its log."""
    vhost = url.rpartition("/")[2]
    lines = listeners.log.read_text().splitlines()
    return [line for line in lines if "[error]" in line and vhost in line]


async def refusals(listeners: Listeners, url: str, one_of_the_others: Steward) -> int:
    """Return how often the server had told in its log that somebody else has the queue."""
    refusal = f"locked queue '{STEWARD}' in vhost '{url.rpartition('/')[2]}'"
    before = listeners.log.read_text().count(refusal)
    await one_of_the_others._try(asks=False)
    await until(lambda: listeners.log.read_text().count(refusal) > before)
    return listeners.log.read_text().count(refusal) - 1


async def test_who_tried_in_vain_does_not_try_again_while_there_is_a_steward(
    rabbitmq: str, rabbitmq_listeners: Listeners
) -> None:
    async with connected(rabbitmq) as it, candidate(rabbitmq) as steward:
        assert await steward.asked()
        other = Steward(it.link, it.publishing, STEWARD, it.stamps, duty=Duty())
        assert await refusals(rabbitmq_listeners, rabbitmq, other) == 0

        assert [await other.asked() for _ in range(3)] == [False, False, False]

        assert await refusals(rabbitmq_listeners, rabbitmq, other) == 1


async def test_a_duty_that_fails_is_told_and_tried_again(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    duty = Duty(fails=True)
    async with candidate(rabbitmq, duty=duty) as steward:
        await until(lambda: duty.done >= 2)
        assert steward.is_steward
    assert [each.message for each in caplog.records].count("steward held up") == 1


async def test_who_is_asked_just_after_the_steward_has_gone_is_the_next(rabbitmq: str) -> None:
    async with AsyncExitStack() as running:
        former = await running.enter_async_context(candidate(rabbitmq))
        assert await former.asked()
        async with candidate(rabbitmq) as heir:
            assert not await heir.asked()

            await running.aclose()

            assert await heir.asked()
            assert not former.is_steward


async def test_who_is_the_steward_no_more_gives_way_at_once_and_leaves_nothing(
    rabbitmq: str,
) -> None:
    async with connected(rabbitmq) as one, connected(rabbitmq) as other:
        heir = Steward(other.link, other.publishing, STEWARD, other.stamps, duty=Duty())
        async with Steward(one.link, one.publishing, STEWARD, one.stamps, duty=Duty()) as steward:
            assert await steward.asked()
            assert [await heir.asked() for _ in range(3)] == [False, False, False]
            channel = await one.link.open_channel()
            assert (await channel.queue_declare(STEWARD, passive=True)).message_count == 0

        assert await heir.asked()


async def test_the_next_takes_over_when_the_connection_of_the_steward_is_lost(
    rabbitmq: str, rabbitmq_relay: Relay, rabbitmq_listeners: Listeners
) -> None:
    async with candidate(rabbitmq, reads_by=rabbitmq_relay.in_url(rabbitmq)) as former:
        await until(lambda: former.is_steward)
        async with candidate(rabbitmq) as heir:
            with rabbitmq_relay.cut():
                await until(lambda: not former.is_steward)
                await until(lambda: heir.is_steward)

            assert not await soon(former.asked)
            assert await heir.asked()
            assert await refusals(rabbitmq_listeners, rabbitmq, former) == 0


async def test_a_steward_whose_queue_was_deleted_has_it_again_before_anybody_else(
    rabbitmq: str,
) -> None:
    async with connected(rabbitmq) as it:
        duty = Duty()
        async with Steward(it.link, it.publishing, STEWARD, it.stamps, duty=duty) as steward:
            await until(lambda: steward.is_steward)
            channel = await it.link.open_channel()
            await channel.queue_delete(STEWARD)

            before = duty.done
            await until(lambda: duty.done > before + 1)

            async with candidate(rabbitmq) as other:
                assert not await other.asked()


async def test_who_was_cancelled_while_it_asked_can_be_the_steward(rabbitmq: str) -> None:
    async with connected(rabbitmq) as it:
        for number in range(20):
            queue = f"{STEWARD}-{number}"
            steward = Steward(it.link, it.publishing, queue, it.stamps, duty=Duty())
            with suppress(TimeoutError):
                async with asyncio.timeout(0.0003 * number):
                    await steward.asked()

            assert await steward.asked()
