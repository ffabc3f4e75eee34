"""What handing events out costs on RabbitMQ: `python -m bench.rabbitmq_consume`.

It starts a RabbitMQ of its own. Each measurement is a process of its own, and rounds alternate
between the measurements, so that a machine whose speed drifts slows all; quoted are medians, and
the ratios within each round. Events have 1 KiB. Takes about twenty minutes.

* *windows*: a queue with events in it is emptied, by claims that are settled at once, with so many
  out at any time; beside it by aio-pika, with that prefetch and an ack for each. The queue is a
  quorum queue, or a classic one.
* *triggers*: how many are subscribed, of which one matches, while another process appends events
  at a fixed rate. Quoted is the processor time of the process, and of the server, for each event,
  and what both have in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.rabbitmq import BROKER, Clock, backend, event, in_turn, ratios, server
from broker.channels.rabbitmq.names import trigger_name
from broker.filters import EVERYTHING, Exact
from broker.ports import Channel, Cursor, Outcome
from tests.services.rabbitmq.server import RabbitMQServer

WINDOWS: Final = {1: 2_000, 10: 5_000, 100: 10_000, 1_000: 10_000}
"""For each window, how many events are in the queue."""

TRIGGERS: Final = (1, 100, 1_000)
RATE: Final = 100
SECONDS: Final = 10
ROUNDS: Final = 5
ROUNDS_OF_TRIGGERS: Final = 3
TRIGGER: Final = "default/match"

Found = Mapping[str, float]


# --- windows -----------------------------------------------------------------------------------


async def empty(url: str, window: int) -> Found:
    """Return what it takes to claim and settle what is in the queue, until it is empty."""
    count = WINDOWS[window]
    async with backend(url) as rabbitmq:
        channel = await rabbitmq.channel(BROKER, {}, {})
        await fill(channel, count)
        clock = Clock()
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=window) as cursor:
            await settle(cursor, count)
    taken, busy = clock.taken()  # whoever leaves has acked what was settled
    return {"rate": count / taken, "µs": busy / count * 1e6}


async def empty_bare(url: str, window: int) -> Found:
    """Return what it takes aio-pika to consume and ack the same."""
    count = WINDOWS[window]
    async with backend(url) as rabbitmq:
        await fill(await rabbitmq.channel(BROKER, {}, {}), count)
    clock = Clock()
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=window)
        queue = await channel.get_queue(trigger_name(BROKER, TRIGGER))
        left, done = count, asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            nonlocal left
            await message.ack()
            left -= 1
            if not left:
                done.set()

        await queue.consume(take)
        await done.wait()
    taken, busy = clock.taken()
    return {"rate": count / taken, "µs": busy / count * 1e6}


async def fill(channel: Channel, count: int) -> None:
    """Put events into the trigger's queue, which is there afterwards if it was not."""
    async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=1):
        pass
    await in_turn(count // 10, 50, lambda number: channel.append([event(number)] * 10))


async def settle(cursor: Cursor, count: int) -> None:
    """Settle so many claims at once as they come."""
    async for claim in cursor.claims():
        cursor.settle(claim, Outcome.DELIVERED)
        count -= 1
        if not count:
            return


# --- triggers ----------------------------------------------------------------------------------


async def subscribe_many(url: str, triggers: int, pid: int) -> Found:
    """Return what events cost that one of so many triggers gets. ``pid`` is the server's."""
    async with backend(url) as rabbitmq, AsyncExitStack() as running:
        channel = await rabbitmq.channel(BROKER, {}, {})
        mine, its = memory(os.getpid()), memory(pid)
        context = channel.subscribe(TRIGGER, filter=EVERYTHING, window=100)
        cursor = await running.enter_async_context(context)
        await asyncio.gather(
            *(
                running.enter_async_context(
                    channel.subscribe(
                        f"default/{number}", filter=Exact((("type", f"{number}"),)), window=100
                    )
                )
                for number in range(1, triggers)
            )
        )
        clock, of_server = Clock(), processor(pid)
        command = [sys.executable, "-m", "bench.rabbitmq_consume", "--url", url, "--feed"]
        feeder = await asyncio.create_subprocess_exec(*command)
        await settle(cursor, RATE * SECONDS)
        taken, busy = clock.taken()
        await feeder.wait()
        return {
            "µs": busy / (RATE * SECONDS) * 1e6,
            "µs of the server": (processor(pid) - of_server) / (RATE * SECONDS) * 1e6,
            "MiB": memory(os.getpid()) - mine,
            "MiB of the server": memory(pid) - its,
            "rate": RATE * SECONDS / taken,
        }


async def feed(url: str) -> None:
    """Append events at the rate."""
    async with backend(url) as rabbitmq:
        channel = await rabbitmq.channel(BROKER, {}, {})
        began, sent = time.monotonic(), 0
        while sent < RATE * SECONDS:
            due = min(RATE * SECONDS, round((time.monotonic() - began) * RATE))
            if due > sent:
                await channel.append([event(number) for number in range(sent, due)])
            sent = due
            await asyncio.sleep(0.02)


def memory(pid: int) -> float:
    """Return the MiB that a process has in memory."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / (1 << 20)


def processor(pid: int) -> float:
    """Return the seconds of processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- all of it ---------------------------------------------------------------------------------


def measured(*arguments: str) -> Found:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "bench.rabbitmq_consume", *arguments]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this module
    found: Found = json.loads(told.stdout)
    return found


def measure_windows(running: RabbitMQServer) -> None:
    """Print at which rate a queue is emptied, and what that costs."""
    ways = [(kind, how) for kind in ("quorum", "classic") for how in ("bare", "claims")]
    for window in WINDOWS:
        found: dict[tuple[str, str], list[Found]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for kind, how in ways:
                with running.management.vhost() as vhost:
                    url = f"{running.listeners.url(vhost)}?queueType={kind}"
                    asked = ("--url", url, "--window", str(window), "--how", how)
                    found[kind, how].append(measured(*asked))
        for (kind, how), each in found.items():
            base = found[kind, "bare"]
            sys.stdout.write(
                f"{window:>5} out, {kind:<7} {how:<6} {median(each, 'rate'):6.0f} events/s, "
                f"{median(each, 'µs'):4.0f} µs of our processor an event; "
                f"rate {compared(each, base, 'rate')}, processor {compared(each, base, 'µs')} "
                f"times bare\n"
            )


def measure_triggers(running: RabbitMQServer) -> None:
    """Print what triggers cost that get nothing."""
    pid = str(server_pid(running))
    found: dict[int, list[Found]] = {each: [] for each in TRIGGERS}
    for _ in range(ROUNDS_OF_TRIGGERS):
        for triggers in TRIGGERS:
            with running.management.vhost() as vhost:
                url = running.listeners.url(vhost)
                asked = ("--url", url, "--triggers", str(triggers), "--server", pid)
                found[triggers].append(measured(*asked))
    for triggers, each in found.items():
        sys.stdout.write(f"{triggers:>5} triggers:\n")
        for what in ("µs", "µs of the server"):
            sys.stdout.write(
                f"{'':>8}{median(each, what):6.0f} {what} an event, "
                f"{compared(each, found[TRIGGERS[0]], what)} times that of one\n"
            )
        for what in ("MiB", "MiB of the server"):
            sys.stdout.write(f"{'':>8}{median(each, what):6.1f} {what}\n")


def server_pid(running: RabbitMQServer) -> int:
    return int(running.ctl("eval", "list_to_integer(os:getpid())."))


def median(rounds: Sequence[Found], what: str) -> float:
    return statistics.median(each[what] for each in rounds)


def compared(rounds: Sequence[Found], base: Sequence[Found], what: str) -> str:
    return ratios([each[what] for each in rounds], [each[what] for each in base])


def main() -> None:
    """Measure all, or be one of the processes that it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=("windows", "triggers"), help="all of it if none"
    )
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--window", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--how", choices=("claims", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--triggers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--server", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--feed", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        uvloop.run(feed(given.url))
    elif given.window:
        how = {"claims": empty, "bare": empty_bare}[given.how]
        json.dump(uvloop.run(how(given.url, given.window)), sys.stdout)
    elif given.triggers:
        found = uvloop.run(subscribe_many(given.url, given.triggers, given.server))
        json.dump(found, sys.stdout)
    else:
        with server() as running:
            if given.what in (None, "windows"):
                measure_windows(running)
            if given.what in (None, "triggers"):
                measure_triggers(running)


if __name__ == "__main__":
    main()
