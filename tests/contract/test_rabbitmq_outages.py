"""What happens to RabbitMQ, and to the way there: it is told, and every event is delivered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from tenacity import wait_fixed

from broker.channels.rabbitmq import link
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.entries import Place
from broker.channels.rabbitmq.feeding import Feeding
from broker.errors import ChannelFull, ChannelUnavailable
from broker.filters import EVERYTHING, Exact, Filter
from broker.ports import Cursor, Outcome, Pause
from tests.contract.rabbitmq import (
    EXCHANGE,
    QUEUE,
    STREAMS,
    WITHIN,
    append_at_last,
    client,
    has_written_down,
    opened,
    part,
    until,
)
from tests.contract.test_channel import TRIGGER, WHY, event, events, ids, numbers, reading
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.relay import Relay

pytestmark = pytest.mark.timeout(180)


@dataclass
class Subscriber:
    """Takes everything that comes, at its second attempt if it is told so."""

    cursor: Cursor
    refuses_once: bool = False
    got: list[str] = field(default_factory=list)

    async def run(self) -> None:
        async for claim in self.cursor.claims():
            if self.refuses_once and not claim.attempts:
                self.cursor.defer(claim, timedelta(milliseconds=300), attempts=1, condemned=None)
            else:
                self.got.append(claim.event.id)
                self.cursor.settle(claim, Outcome.DELIVERED)

    async def has(self, expected: Sequence[str]) -> None:
        """Return once it has these, and nothing else."""

        async def is_there() -> bool:
            return set(self.got) >= set(expected)

        try:
            await until(is_there)
        except TimeoutError as late:
            late.add_note(f"missing: {sorted(set(expected) - set(self.got))}")
            raise
        assert set(self.got) == set(expected)


@asynccontextmanager
async def subscribed(
    channel: RabbitmqChannel,
    trigger: str = TRIGGER,
    *,
    filter: Filter = EVERYTHING,
    refuses_once: bool = False,
) -> AsyncIterator[Subscriber]:
    async with channel.subscribe(trigger, filter=filter, window=50) as cursor:
        subscriber = Subscriber(cursor, refuses_once)
        running = asyncio.create_task(subscriber.run())
        try:
            yield subscriber
        finally:
            running.cancel()


async def balanced(channel: RabbitmqChannel, delivered: int) -> None:
    """Return once the trigger's books say that so many are delivered, of as many."""

    async def is_so() -> bool:
        books = (await channel.books())[TRIGGER]
        return (books.matched, books.delivered, books.waiting) == (delivered, delivered, 0)

    try:
        await until(is_so)
    except TimeoutError as late:
        late.add_note(str(await channel.books()))
        raise


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="cemesh.channel")


def told(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {record.getMessage() for record in caplog.records if record.name == "cemesh.channel"}


def tellers(caplog: pytest.LogCaptureFixture, message: str) -> set[str]:
    """Return the connections that have said that: of two that a channel has."""
    return {
        record.__dict__["connection"] for record in caplog.records if record.getMessage() == message
    }


# --- connections ---------------------------------------------------------------------------


async def test_a_server_that_is_killed_and_started_again(
    rabbitmq_server: RabbitMQServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(rabbitmq_server.start)
    try:
        async with (
            opened(rabbitmq_server.listeners.url(), tmp_path) as channel,
            subscribed(channel, refuses_once=True) as subscriber,
        ):
            await channel.append(events(100))
            await subscriber.has(numbers(100))
            names = (STREAMS, QUEUE, part("wait-250ms"))
            await until(lambda: asyncio.sleep(0, has_written_down(rabbitmq_server, *names)))
            await channel.append(events(100, start=100))
            await asyncio.to_thread(rabbitmq_server.kill)
            with pytest.raises(ChannelUnavailable):
                await channel.append([event("refused")])
            await asyncio.to_thread(rabbitmq_server.start)
            await append_at_last(channel, *events(100, start=200))

            await subscriber.has(numbers(300))
            await balanced(channel, 300)
    finally:
        await asyncio.to_thread(rabbitmq_server.stop)
    assert {"rabbitmq connection lost", "rabbitmq reachable again"} <= told(caplog)


async def test_what_is_taken_as_soon_as_a_server_has_started_is_in_the_stream_too(
    rabbitmq_server: RabbitMQServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_BETWEEN_ATTEMPTS", wait_fixed(0.01))
    await asyncio.to_thread(rabbitmq_server.start)
    try:
        async with (
            opened(rabbitmq_server.listeners.url(), tmp_path) as channel,
            subscribed(channel) as subscriber,
        ):
            await channel.append(events(10))
            await until(lambda: has_written_down(rabbitmq_server, STREAMS, QUEUE))
            await asyncio.to_thread(rabbitmq_server.kill)
            starting = asyncio.create_task(asyncio.to_thread(rabbitmq_server.start))
            for number in range(10, 50):
                await append_at_last(channel, event(str(number)))
            await starting

            await subscriber.has(numbers(50))
            assert {each.event.id for each in await channel.history()} == set(numbers(50))
    finally:
        await asyncio.to_thread(rabbitmq_server.stop)


async def test_connections_that_the_server_closes(
    rabbitmq: str,
    rabbitmq_management: Management,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vhost = vhost_of(rabbitmq)
    async with (
        opened(rabbitmq, tmp_path) as channel,
        subscribed(channel, refuses_once=True) as subscriber,
    ):
        for start in range(0, 300, 100):
            await append_at_last(channel, *events(100, start))
            await asyncio.to_thread(rabbitmq_management.close_connections, vhost)
        await append_at_last(channel, *events(100, start=300))

        await subscriber.has(numbers(400))
        await balanced(channel, 400)
    assert {"rabbitmq connection lost", "rabbitmq reachable again"} <= told(caplog)


async def test_a_network_that_goes_silent(
    rabbitmq_relay: Relay, rabbitmq: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        opened(rabbitmq_relay.in_url(rabbitmq), tmp_path) as channel,
        subscribed(channel, refuses_once=True) as subscriber,
    ):
        await channel.append(events(100))
        with rabbitmq_relay.hung():
            # Of both: what is said before that may be handed on afterwards.
            await until(lambda: len(tellers(caplog, "rabbitmq connection lost")) == 2)
            with pytest.raises(ChannelUnavailable):
                await channel.append([event("refused")])
        await append_at_last(channel, *events(100, start=100))

        await subscriber.has(numbers(200))
    assert "rabbitmq reachable again" in told(caplog)


async def test_credentials_that_are_changed_and_put_right(
    rabbitmq: str,
    rabbitmq_management: Management,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vhost, user = vhost_of(rabbitmq), f"user-of-{vhost_of(rabbitmq)}"
    all_of_it = {"configure": ".*", "write": ".*", "read": ".*"}
    rabbitmq_management.put("users", user, body={"password": "first", "tags": ""})
    rabbitmq_management.put("permissions", vhost, user, body=all_of_it)
    parts = urlsplit(rabbitmq)
    url = parts._replace(netloc=f"{user}:first@{parts.hostname}:{parts.port}").geturl()
    try:
        async with opened(url, tmp_path) as channel, subscribed(channel) as subscriber:
            await channel.append(events(100))
            rabbitmq_management.put("users", user, body={"password": "second", "tags": ""})
            await asyncio.to_thread(rabbitmq_management.close_connections, vhost, at_least=2)
            await until(lambda: len(tellers(caplog, "rabbitmq unreachable")) == 2)
            with pytest.raises(ChannelUnavailable, match=user):
                await channel.append([event("refused")])

            rabbitmq_management.put("users", user, body={"password": "first", "tags": ""})
            await append_at_last(channel, *events(100, start=100))
            await subscriber.has(numbers(200))
    finally:
        rabbitmq_management.delete("users", user)


# --- what others delete --------------------------------------------------------------------


async def test_a_queue_that_is_deleted_with_events_in_it(
    rabbitmq: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(rabbitmq, tmp_path) as channel:
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=5) as cursor:
            await channel.append(events(300))
            async with client(rabbitmq) as other:
                await other.queue_delete(QUEUE)
            await append_at_last(channel, *events(100, start=300))
            subscriber = Subscriber(cursor)
            running = asyncio.create_task(subscriber.run())

            await subscriber.has(numbers(400))
            running.cancel()
        assert sorted(subscriber.got) == sorted(numbers(400)), "some came twice"
    assert {"queue was deleted", "queue was gone and is filled again"} <= told(caplog)


async def test_a_queue_that_is_deleted_while_nobody_consumes(rabbitmq: str, tmp_path: Path) -> None:
    async with opened(rabbitmq, tmp_path) as channel, reading(channel) as reader:
        await channel.append(events(10))
        await reader.settle(*await reader.take(4))
    async with client(rabbitmq) as other:
        await other.queue_delete(QUEUE)
    async with opened(rabbitmq, tmp_path) as channel:
        await channel.append(events(10, start=10))
        async with subscribed(channel) as subscriber:

            async def has_all() -> bool:
                return set(subscriber.got) >= set(numbers(16, start=4))

            await until(has_all)


async def test_a_pause_is_known_to_other_processes_and_outlives_the_stream_it_was_told_in(
    rabbitmq: str, tmp_path: Path
) -> None:
    pause = Pause(why="a test", since=datetime.now(UTC))
    async with opened(rabbitmq, tmp_path) as one, opened(rabbitmq, tmp_path) as other:

        async def knows(channel: RabbitmqChannel, expected: Mapping[str, Pause]) -> bool:
            return await channel.pauses.all() == expected

        async def is_known_to_who_begins() -> bool:
            async with opened(rabbitmq, tmp_path) as late:
                return await knows(late, {TRIGGER: pause})

        await one.pauses.put(TRIGGER, pause)
        await until(lambda: knows(other, {TRIGGER: pause}))
        async with subscribed(other), client(rabbitmq) as somebody:
            await somebody.queue_delete(part("state"))
            await until(is_known_to_who_begins)  # once that is told anew

        await other.pauses.remove(TRIGGER)
        await until(lambda: knows(one, {}))


@pytest.mark.parametrize("gone", ["exchange", "events", "returned", "wait-500ms", "wait"])
async def test_what_else_a_broker_has_is_made_again(
    rabbitmq: str, tmp_path: Path, gone: str
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as channel,
        subscribed(channel, refuses_once=True) as subscriber,
    ):
        await channel.append(events(10))
        await subscriber.has(numbers(10))
        async with client(rabbitmq) as other:
            if gone == "exchange":
                await other.exchange_delete(EXCHANGE)
            elif gone == "wait":
                await other.exchange_delete(part(gone))
            else:
                await other.queue_delete(part(gone))

        await append_at_last(channel, *events(10, start=10))
        await subscriber.has(numbers(20))


async def test_the_stream_is_made_again_though_queues_take_what_is_appended(
    rabbitmq: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as channel,
        subscribed(channel) as subscriber,
        client(rabbitmq) as other,
    ):
        await channel.append(events(10))
        await other.queue_delete(part("events"))
        await until(lambda: "exchange or stream is gone and is made again" in told(caplog))
        await until(lambda: is_bound(other, part("events")))
        await channel.append(events(10, start=10))

        await subscriber.has(numbers(20))
        assert [each.event.id for each in await channel.history()] == numbers(20)[10:]


async def is_bound(client: AbstractChannel, queue: str) -> bool:
    """Return whether the queue is there, and see that it is bound."""
    asking = await client.connection.channel()
    try:
        await asking.queue_bind(queue, EXCHANGE, arguments={"x-match": "all"})
    except aiormq.ChannelNotFoundEntity:
        return False
    await asking.close()
    return True


async def test_who_starts_where_the_exchange_was_deleted_binds_the_queues_of_others(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as dispatcher,
        subscribed(dispatcher) as subscriber,
        client(rabbitmq) as other,
    ):
        await dispatcher.append(events(10))
        await other.exchange_delete(EXCHANGE)

        async with opened(rabbitmq, tmp_path) as ingress:
            await ingress.append(events(10, start=10))

            await subscriber.has(numbers(20))


async def test_a_trigger_may_come_while_the_queues_of_others_are_bound_again(
    rabbitmq: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as channel,
        subscribed(channel) as subscriber,
        AsyncExitStack() as late,
    ):
        rebind = Feeding.rebind

        async def meanwhile(feeding: Feeding, trigger: str, noted: Place) -> None:
            await late.enter_async_context(subscribed(channel, f"{trigger}-late"))
            await rebind(feeding, trigger, noted)

        monkeypatch.setattr(Feeding, "rebind", meanwhile)
        await channel._upkeep.restore()

        await channel.append(events(10))
        await subscriber.has(numbers(10))


# --- alarms --------------------------------------------------------------------------------


async def test_an_alarm_refuses_events_and_lets_deliveries_go_on(
    rabbitmq_server: RabbitMQServer, tmp_path: Path
) -> None:
    await asyncio.to_thread(rabbitmq_server.start)
    try:
        async with (
            opened(rabbitmq_server.listeners.url(), tmp_path) as channel,
            channel.subscribe(TRIGGER, filter=EVERYTHING, window=5) as cursor,
        ):
            await channel.append(events(300))
            with rabbitmq_server.memory_alarm():

                async def is_refused() -> bool:
                    try:
                        await channel.append([event("refused")])
                    except ChannelFull:
                        return True
                    return False

                async with asyncio.timeout(WITHIN):
                    await until(is_refused)
                with pytest.raises(ChannelFull, match="low on memory"):
                    await channel.append([event("refused")])
                subscriber = Subscriber(cursor)
                running = asyncio.create_task(subscriber.run())
                await until(lambda: asyncio.sleep(0, set(numbers(300)) <= set(subscriber.got)))

            await append_at_last(channel, *events(50, start=300))
            await until(lambda: asyncio.sleep(0, set(numbers(350)) <= set(subscriber.got)))
            running.cancel()
    finally:
        await asyncio.to_thread(rabbitmq_server.stop)


# --- policies ------------------------------------------------------------------------------


async def test_what_reaches_a_delivery_limit_comes_again(
    rabbitmq: str,
    rabbitmq_management: Management,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy(rabbitmq_management, rabbitmq, {"delivery-limit": 2})
    async with opened(rabbitmq, tmp_path) as channel:
        async with reading(channel):
            await channel.append(events(3))
        for _ in range(4):
            async with reading(channel) as reader:
                assert ids(await reader.take(3)) == numbers(3)
        async with reading(channel) as reader:
            await reader.settle(*await reader.take(3))
            await balanced(channel, 3)
    assert "delivery limit reached, event goes back" in told(caplog)


async def test_what_a_policy_lets_expire_is_a_dead_letter_that_says_so(
    rabbitmq: str, rabbitmq_management: Management, tmp_path: Path
) -> None:
    policy(rabbitmq_management, rabbitmq, {"message-ttl": 300})
    async with (
        opened(rabbitmq, tmp_path) as channel,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=1),
    ):
        await channel.append(events(60))

        async def is_buried() -> bool:
            return len(await channel.dead_letters.list()) == 40

        await until(is_buried)
        letters = await channel.dead_letters.list()
        assert {letter.trigger for letter in letters} == {TRIGGER}
        assert all("message-ttl" in letter.why.reason for letter in letters)

        async def is_balanced() -> bool:
            books = (await channel.books())[TRIGGER]
            return (books.matched, books.dead_lettered, books.waiting) == (60, 40, 20)

        await until(is_balanced)


async def test_a_queue_that_may_not_get_longer_refuses_events(
    rabbitmq: str, rabbitmq_management: Management, tmp_path: Path
) -> None:
    policy(rabbitmq_management, rabbitmq, {"max-length": 10})
    async with (
        opened(rabbitmq, tmp_path) as channel,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=1),
    ):

        async def is_full() -> bool:
            try:
                await channel.append(events(20))
            except ChannelFull as error:
                assert EXCHANGE in str(error)  # noqa: PT017
                return True
            return False

        await until(is_full)


# --- triggers that go ----------------------------------------------------------------------


async def test_a_trigger_that_is_removed_leaves_no_queue_and_its_dead_letters(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with opened(rabbitmq, tmp_path) as channel:
        async with reading(channel) as reader:
            await channel.append(events(2))
            one, other = await reader.take(2)
            await reader.settle(one)
            await channel.dead_letters.bury(TRIGGER, other.event, WHY, delivery="some")
        assert await is_there(rabbitmq, QUEUE)

        await channel.unsubscribe(TRIGGER)

        assert not await is_there(rabbitmq, QUEUE)
        assert len(await channel.dead_letters.list(trigger=TRIGGER)) == 1


async def test_an_exact_filter_is_a_binding_and_the_rest_is_asked_on_receipt(
    rabbitmq: str, tmp_path: Path
) -> None:
    orders = Exact((("type", "order.created"),))
    async with (
        opened(rabbitmq, tmp_path) as channel,
        channel.subscribe(TRIGGER, filter=orders, window=1),
    ):
        await channel.append([*events(50), *(event(f"no-{n}", "other") for n in range(50))])

        books = (await channel.books())[TRIGGER]
        assert (books.matched, books.waiting) == (50, 50)


async def is_there(url: str, queue: str) -> bool:
    async with client(url) as other:
        try:
            await other.queue_declare(queue, passive=True)
        except aiormq.ChannelNotFoundEntity:
            return False
    return True


def policy(management: Management, url: str, definition: dict[str, int]) -> None:
    """Put a policy on all queues of triggers."""
    body = {"pattern": "^t\\.", "definition": definition, "apply-to": "queues"}
    management.put("policies", vhost_of(url), "of-the-test", body=body)


def vhost_of(url: str) -> str:
    return unquote(urlsplit(url).path[1:])
