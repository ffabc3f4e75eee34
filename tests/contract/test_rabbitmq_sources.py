"""What the RabbitMQ channel keeps for sources, and how one process at a time does their work."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from broker.channels.rabbitmq import checkpoints
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.checkpoints import RabbitmqCheckpoints
from broker.channels.rabbitmq.names import source_name
from broker.errors import ChannelUnavailable
from tests.contract.harness import BROKER
from tests.contract.rabbitmq import SOON, opened
from tests.contract.test_channel import event, reading
from tests.contract.test_rabbitmq_streams import Process, process, read
from tests.services.relay import Relay

SOURCE = "JsonlSource default/orders"
STREAM = source_name(BROKER, "checkpoint", SOURCE)
LONGEST = bytes(range(256)) * 256
GIVES_WAY = 30.0
"""Seconds, as the channel promises."""


def checkpoints_of(process: Process) -> RabbitmqCheckpoints:
    return RabbitmqCheckpoints(process.link, process.publishing, BROKER, process.stamps)


# --- checkpoints ---------------------------------------------------------------------------


async def test_whoever_asks_while_others_do_finds_what_was_put_last(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as two, process(rabbitmq) as three:
        writer = checkpoints_of(one)
        await writer.put(SOURCE, b"0")
        put, is_done = 0, False
        found: list[int] = []

        async def ask(asking: RabbitmqCheckpoints) -> None:
            while not is_done:
                before = put
                place = int(await asking.get(SOURCE) or b"-1")
                assert place >= before
                found.append(place)

        async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
            for each in (two, two, three):
                tasks.create_task(ask(checkpoints_of(each)))
            while put < 50 or len(found) <= 6:
                put += 1
                await writer.put(SOURCE, b"%d" % put)
            is_done = True

        assert await checkpoints_of(three).get(SOURCE) == b"%d" % put


async def test_asking_ever_so_often_does_not_push_the_place_out(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_STREAM_BYTES", 60_000)
    monkeypatch.setattr(checkpoints, "_SEGMENT_BYTES", 20_000)
    async with process(rabbitmq) as one, process(rabbitmq) as two:
        await checkpoints_of(one).put(SOURCE, b"x" * 4_000)

        for _ in range(40):
            assert await checkpoints_of(two).get(SOURCE) == b"x" * 4_000

        assert (await read(one.stream(STREAM)))[0].offset > 1  # what was put is gone itself
        await checkpoints_of(one).put(SOURCE, b"y")
        assert await checkpoints_of(two).get(SOURCE) == b"y"


async def test_however_much_is_put_the_server_keeps_a_few_mebibytes(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        source = checkpoints_of(one)
        for _ in range(150):
            await source.put(SOURCE, LONGEST)

        kept = await read(one.stream(STREAM))

        assert sum(len(entry.body) for entry in kept) < 6 << 20
        assert await source.get(SOURCE) == LONGEST


async def test_what_a_lost_connection_brings_late_does_not_set_a_source_back(
    rabbitmq: str,
) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as two:
        source = checkpoints_of(one)
        await source.put(SOURCE, b"1")
        (first,) = await read(one.stream(STREAM))
        await source.put(SOURCE, b"2")

        await one.append(first.body, stream=STREAM)

        for _ in range(3):  # also by what those who ask have written
            assert await checkpoints_of(two).get(SOURCE) == b"2"
        await source.put(SOURCE, b"3")
        assert await checkpoints_of(two).get(SOURCE) == b"3"


async def test_the_next_process_puts_behind_what_the_one_before_has(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        for number in range(3):
            await checkpoints_of(one).put(SOURCE, b"%d" % number)

    async with process(rabbitmq) as two:
        await checkpoints_of(two).put(SOURCE, b"of the next")
        assert await checkpoints_of(two).get(SOURCE) == b"of the next"


async def test_what_others_write_is_no_checkpoint(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(rabbitmq) as one:
        source = checkpoints_of(one)
        await source.put(SOURCE, b"1")

        strange = [b"", b"\x90", b"{}", msgspec.msgpack.encode([b"2", "x"]) + b"!"]
        await one.append(*strange * 20, stream=STREAM)

        with caplog.at_level(logging.WARNING):
            assert await source.get(SOURCE) == b"1"
        assert "checkpoint not readable" in caplog.text


async def test_a_stream_in_which_nothing_was_put_is_no_checkpoint(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        await one.stream(STREAM).declare()

        assert [await checkpoints_of(one).get(SOURCE) for _ in range(2)] == [None, None]
        await checkpoints_of(one).put(SOURCE, b"")
        assert await checkpoints_of(one).get(SOURCE) == b""


async def test_a_checkpoint_that_is_deleted_is_put_again(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        source = checkpoints_of(one)
        await source.put(SOURCE, b"1")
        channel = await one.link.open_channel()
        await channel.queue_delete(STREAM)
        assert await source.get(SOURCE) is None

        await source.put(SOURCE, b"2")

        assert await source.get(SOURCE) == b"2"


# --- one at a time -------------------------------------------------------------------------


class Work:
    """Work that goes on until it is cancelled, and then takes ``ending`` seconds."""

    def __init__(self, *, ending: float = 0) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.began_at = self.ended_at = math.inf
        self._ending = ending

    async def __call__(self) -> None:
        self.began_at = time.monotonic()
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self._ending)
            self.ended_at = time.monotonic()
            self.ended.set()


@asynccontextmanager
async def doing(channel: RabbitmqChannel, work: Work) -> AsyncIterator[asyncio.Task[None]]:
    """Do the work while the context lasts, unless it ends before."""
    task = asyncio.ensure_future(channel.alone(SOURCE, work))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_work_has_ended_before_another_process_begins(rabbitmq: str, tmp_path: Path) -> None:
    first, second = Work(ending=1.5), Work()
    async with (
        asyncio.timeout(SOON),
        opened(rabbitmq, tmp_path) as one,
        opened(rabbitmq, tmp_path) as two,
        doing(one, first) as task,
    ):
        await first.begun.wait()
        async with doing(two, second):
            task.cancel()
            await asyncio.sleep(0.1)
            task.cancel()  # once more, as it ends
            await second.begun.wait()

    assert first.ended_at <= second.began_at


async def test_in_one_process_one_works_after_the_other(rabbitmq: str, tmp_path: Path) -> None:
    first, second = Work(), Work()
    async with opened(rabbitmq, tmp_path) as one, asyncio.timeout(SOON):
        async with doing(one, first):
            await first.begun.wait()
            async with doing(one, second):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(2):
                        await second.begun.wait()
        again = Work()
        async with doing(one, again):
            await again.begun.wait()

    assert not second.begun.is_set()


async def test_who_is_cancelled_at_any_moment_keeps_nobody_waiting(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with opened(rabbitmq, tmp_path) as one, opened(rabbitmq, tmp_path) as two:
        for number in range(30):
            task = asyncio.ensure_future(one.alone(SOURCE, Work()))
            await asyncio.sleep(number / 1000)  # the moment, of some that matter
            task.cancel()
            await asyncio.wait([task])

        async with asyncio.timeout(30):
            await two.alone(SOURCE, _nothing)


async def test_a_process_that_is_killed_gives_way(rabbitmq: str, tmp_path: Path) -> None:
    code = _HOLDER.format(url=rabbitmq, folder=str(tmp_path), name=SOURCE)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    try:
        work = Work()
        async with opened(rabbitmq, tmp_path) as channel, asyncio.timeout(2 * GIVES_WAY):
            assert holder.stdout is not None
            assert await holder.stdout.readline() == b"begun\n"
            async with doing(channel, work):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(3):
                        await work.begun.wait()
                holder.send_signal(signal.SIGKILL)
                async with asyncio.timeout(GIVES_WAY):
                    await work.begun.wait()
    finally:
        with suppress(ProcessLookupError):
            holder.kill()
        await holder.communicate()  # which closes its pipe


@pytest.mark.timeout(120)
async def test_who_hears_nothing_any_more_stops_before_another_begins(
    rabbitmq: str, rabbitmq_relay: Relay, tmp_path: Path
) -> None:
    first, second = Work(), Work()
    async with (
        opened(rabbitmq_relay.in_url(rabbitmq), tmp_path) as one,
        opened(rabbitmq, tmp_path) as two,
        doing(one, first) as task,
    ):
        await first.begun.wait()
        async with doing(two, second):
            with rabbitmq_relay.hung():
                async with asyncio.timeout(GIVES_WAY + 15):  # on a busy machine
                    with pytest.raises(ChannelUnavailable, match=f"silent.*'{SOURCE}' runs here"):
                        await task
                    await second.begun.wait()

    assert first.ended_at <= second.began_at


async def test_events_are_delivered_while_processes_wait_to_be_alone(
    rabbitmq: str, tmp_path: Path
) -> None:
    first, second = Work(), Work()
    async with (
        opened(rabbitmq, tmp_path) as one,
        opened(rabbitmq, tmp_path) as two,
        reading(two) as reader,
        doing(one, first),
    ):
        await first.begun.wait()
        async with doing(two, second):
            for number in range(10):
                await two.append([event(str(number))])
                await asyncio.sleep(0.2)  # over two attempts to be alone

            claims = await reader.take(10)

            assert [claim.event.id for claim in claims] == [str(each) for each in range(10)]
            assert not second.begun.is_set()


async def _nothing() -> None:
    pass


_HOLDER = """
import asyncio
from pathlib import Path
from tests.contract.rabbitmq import opened

async def work():
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    async with opened({url!r}, Path({folder!r})) as channel:
        await channel.alone({name!r}, work)

asyncio.run(main())
"""
