"""Confirmed publishing to a real RabbitMQ, and what becomes of what it does not take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage

from broker.channels.rabbitmq import link, publishing
from broker.channels.rabbitmq.confirms import ConfirmingChannel
from broker.channels.rabbitmq.publishing import Outgoing, Publishing
from broker.channels.rabbitmq.security import Security
from broker.channels.rabbitmq.settings import Settings
from broker.codecs.amqp import Message
from broker.connections.rabbitmq.connecting import HEARTBEAT, close, connect
from broker.errors import ChannelFull, ChannelUnavailable, TooLarge
from tests.contract.rabbitmq import SOON, settings_of, until
from tests.contract.test_rabbitmq_connections import Way, plain, tls
from tests.services.mesh import HOST, free_port
from tests.services.rabbitmq.distribution import Distribution
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.rabbitmq.settings import Listeners
from tests.services.relay import Relay

BODY = b'{"of": "an order"}'
AN_HOUR = 3600.0


def message(number: int = 0, *, queue: str = "orders", body: bytes = BODY) -> Outgoing:
    """Return a message for a queue."""
    headers = {"ce-id": str(number), "ce-type": "order.placed"}
    told = Message(body=body, headers=headers, content_type="application/json")
    return Outgoing(message=told, stamp=f"stamp-{number}", routing_key=queue)


def messages(count: int, *, start: int = 0) -> list[Outgoing]:
    return [message(number) for number in range(start, start + count)]


@asynccontextmanager
async def beside(settings: Settings) -> AsyncIterator[AbstractChannel]:
    """Return a channel of a connection that has nothing to do with the publishing."""
    connection = await connect(settings, "test")
    try:
        yield await connection.channel()
    finally:
        await close(connection)


@pytest.fixture
async def channel(rabbitmq: str) -> AsyncIterator[AbstractChannel]:
    """Return a channel to look at the server by, which has the queue of orders."""
    async with beside(settings_of(rabbitmq)) as found:
        await found.queue_declare("orders", durable=True)
        yield found


async def stored(channel: AbstractChannel, queue: str = "orders") -> list[DeliveredMessage]:
    """Take everything from a queue."""
    found = []
    while (each := await channel.basic_get(queue, no_ack=True)).message_count is not None:
        found.append(each)
    return found


async def stamps(channel: AbstractChannel, queue: str = "orders") -> list[str | None]:
    return [each.header.properties.message_id for each in await stored(channel, queue)]


def stamps_of(outgoing: Sequence[Outgoing]) -> list[str]:
    return [each.stamp for each in outgoing]


# --- what is stored ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [0, 1, 131_072 - 8, 131_072 - 7, 1_000_000],
    ids=["nothing", "a byte", "a frame", "a frame and a byte", "many frames"],
)
async def test_a_message_is_stored_as_it_is(
    rabbitmq: str, channel: AbstractChannel, size: int
) -> None:
    body = bytes(number % 251 for number in range(size))
    headers = {"ce-subject": "Grüße\n\x01", "ce-empty": "", "ce-long": "ü" * 10_000}
    told = Message(body=body, headers=headers, content_type="application/json")
    outgoing = Outgoing(
        message=told, stamp="stamp", routing_key="orders", headers={"cemesh-to": "shop/audit"}
    )

    async with Publishing(settings_of(rabbitmq)) as it:
        assert await it.publish([outgoing]) == []

    (found,) = await stored(channel)
    properties = found.header.properties
    assert found.body == body
    assert properties.headers == {**headers, "cemesh-to": "shop/audit"}
    assert properties.content_type == "application/json"
    assert properties.message_id == "stamp"
    assert properties.delivery_mode == 2


async def test_a_message_without_a_content_type_has_none(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    told = Message(body=BODY, headers={}, content_type=None)

    async with Publishing(settings_of(rabbitmq)) as it:
        await it.publish([Outgoing(message=told, stamp="stamp", routing_key="orders")])

    (found,) = await stored(channel)
    assert found.header.properties.content_type is None
    assert found.header.properties.headers == {}


async def test_an_exchange_routes_by_the_headers(rabbitmq: str, channel: AbstractChannel) -> None:
    await channel.queue_declare("paid", durable=True, arguments={"x-queue-type": "quorum"})
    await channel.exchange_declare("broker", exchange_type="headers", durable=True)
    for queue, match in (("orders", {}), ("paid", {"ce-id": "1"})):
        await channel.queue_bind(queue, "broker", arguments={"x-match": "all", **match})

    async with Publishing(settings_of(rabbitmq)) as it:
        await it.publish([replace(each, exchange="broker") for each in messages(3)])

    assert await stamps(channel) == ["stamp-0", "stamp-1", "stamp-2"]
    assert await stamps(channel, "paid") == ["stamp-1"]


async def test_many_who_publish_at_once_are_each_told_when_theirs_is_stored(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    await channel.queue_declare("quorum", durable=True, arguments={"x-queue-type": "quorum"})
    calls = [
        [replace(each, routing_key="quorum") for each in messages(2, start=start)]
        for start in range(0, 2_000, 2)
    ]

    async with Publishing(settings_of(rabbitmq)) as it:
        results = await asyncio.gather(*map(it.publish, calls))

    assert set(map(tuple, results)) == {()}
    found = await stamps(channel, "quorum")
    assert found == [each.stamp for call in calls for each in call]


async def test_to_publish_nothing_takes_no_server(rabbitmq: str, rabbitmq_relay: Relay) -> None:
    async with Publishing(settings_of(rabbitmq_relay.in_url(rabbitmq))) as it:
        with rabbitmq_relay.cut():
            assert await it.publish([]) == []


# --- what no queue is there for ------------------------------------------------------------


async def test_those_that_no_queue_is_there_for_are_returned_and_the_others_stored(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    outgoing = [message(n, queue="orders" if n % 3 else "none") for n in range(10)]

    async with Publishing(settings_of(rabbitmq)) as it:
        first, second = await asyncio.gather(
            it.publish(outgoing), it.publish(messages(5, start=10))
        )

    assert first == [outgoing[0], outgoing[3], outgoing[6], outgoing[9]]
    assert second == []
    assert len(await stored(channel)) == 6 + 5


async def test_one_event_for_two_queues_is_returned_for_the_one_that_is_not_there(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    async with Publishing(settings_of(rabbitmq)) as it:
        returned = await it.publish([message(1), message(1, queue="none")])

    assert returned == [message(1, queue="none")]
    assert await stamps(channel) == ["stamp-1"]


async def test_what_was_returned_is_stored_once_there_is_a_queue_for_it(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    late = message(1, queue="late")

    async with Publishing(settings_of(rabbitmq)) as it:
        assert await it.publish([late] * 200) == [late] * 200
        await channel.queue_declare("late", durable=True)
        assert await it.publish([late]) == []

    assert await stamps(channel, "late") == ["stamp-1"]


async def test_an_exchange_that_is_gone_is_no_queue_and_costs_the_others_nothing(
    rabbitmq: str, channel: AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_BEGUN_AGAIN_AFTER", AN_HOUR)  # as after an outage
    lost = replace(message(1), exchange="gone")

    async with Publishing(settings_of(rabbitmq)) as it:
        results = await asyncio.gather(
            it.publish(messages(200, start=1_000)),
            it.publish([message(2), lost, message(3), lost]),
            it.publish(messages(200, start=2_000)),
        )
        assert await it.publish([message(4)]) == []
        for _ in range(20):
            assert await it.publish([lost]) == [lost]

    assert [*results] == [[], [lost, lost], []]
    assert set(await stamps(channel)) == {
        *stamps_of(messages(200, start=1_000) + messages(200, start=2_000)),
        *("stamp-2", "stamp-3", "stamp-4"),
    }


# --- what is not taken ---------------------------------------------------------------------


async def test_a_queue_that_is_full_is_named(rabbitmq: str, channel: AbstractChannel) -> None:
    await channel.queue_declare(
        "short", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    await channel.exchange_declare("broker", durable=True)
    await channel.queue_bind("short", "broker")
    in_exchange = replace(message(3), exchange="broker", routing_key="")

    async with Publishing(settings_of(rabbitmq)) as it:
        await it.publish([message(1, queue="short")])
        refused, refused_too, taken = await asyncio.gather(
            it.publish([message(2, queue="short")]),
            it.publish([in_exchange]),
            it.publish(messages(5)),
            return_exceptions=True,
        )

    assert isinstance(refused, ChannelFull)
    assert "queue 'short'" in str(refused)
    assert isinstance(refused_too, ChannelFull)
    assert "exchange 'broker'" in str(refused_too)
    assert taken == []
    assert len(await stored(channel)) == 5


async def test_nothing_is_written_to_a_channel_that_the_client_itself_has_closed(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    async with Publishing(settings_of(rabbitmq)) as it:
        await it.publish([message(1)])
        connection = it._link._connection
        assert connection is not None
        [publishes] = connection.channels.values()
        assert isinstance(publishes, ConfirmingChannel)

        closing = asyncio.ensure_future(publishes.close())
        told = await asyncio.gather(
            *(it.publish([message(number)]) for number in range(2, 50)), return_exceptions=True
        )
        await closing
        assert all(isinstance(each, ChannelUnavailable) or each == [] for each in told)
        assert await it.publish([message(50)]) == []

        assert it._link._connection is connection
    assert "stamp-50" in await stamps(channel)


async def test_headers_that_are_too_long_for_a_frame_are_refused_and_break_nothing(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    long = replace(message(1), headers={"cemesh-note": "x" * 131_072})

    async with Publishing(settings_of(rabbitmq)) as it:
        connection = it._link._connection
        refused, taken = await asyncio.gather(
            it.publish([long]), it.publish([message(2)]), return_exceptions=True
        )
        assert it._link._connection is connection

        assert it._pending_messages == it._pending_bytes == 0

    assert isinstance(refused, TooLarge)
    assert "131,064" in str(refused)
    assert taken == []
    assert await stamps(channel) == ["stamp-2"]


async def test_what_amqp_cannot_name_is_an_error_of_whoever_asks_for_it_alone(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    async with Publishing(settings_of(rabbitmq)) as it:
        wrong, taken = await asyncio.gather(
            it.publish([message(1, queue="x" * 256)]),
            it.publish([message(2)]),
            return_exceptions=True,
        )

    assert isinstance(wrong, ValueError)
    assert taken == []
    assert await stamps(channel) == ["stamp-2"]


async def test_who_may_not_write_is_told_where_and_the_others_are_not_held_up(
    rabbitmq: str, channel: AbstractChannel, rabbitmq_management: Management
) -> None:
    settings = settings_of(rabbitmq)
    await channel.exchange_declare("theirs", durable=True)
    name = f"somebody of {settings.vhost}"
    rights = {"configure": "", "write": "amq.default", "read": ""}
    rabbitmq_management.put("users", name, body={"password": "secret", "tags": ""})
    rabbitmq_management.put("permissions", settings.vhost, name, body=rights)

    security = Security(user=name, password="secret")
    async with Publishing(replace(settings, security=security)) as it:
        refused, taken = await asyncio.gather(
            it.publish([replace(message(1), exchange="theirs")]),
            it.publish(messages(5, start=2)),
            return_exceptions=True,
        )
    rabbitmq_management.delete("users", name)

    assert isinstance(refused, ChannelUnavailable)
    assert "exchange 'theirs'" in str(refused)
    assert "permission to write" in str(refused)
    assert taken == []
    assert set(await stamps(channel)) == set(stamps_of(messages(5, start=2)))


async def test_who_publishes_faster_than_the_server_stores_is_told_to_wait(
    rabbitmq: str,
    rabbitmq_relay: Relay,
    channel: AbstractChannel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "MAX_PENDING_MESSAGES", 10)
    monkeypatch.setattr(publishing, "MAX_PENDING_BYTES", 1_000)
    async with Publishing(settings_of(rabbitmq_relay.in_url(rabbitmq))) as it:
        with rabbitmq_relay.hung():
            pending = asyncio.create_task(it.publish(messages(8)))
            await asyncio.sleep(0)

            for more in (messages(3), [message(1, body=b"x" * 1_000)]):
                with pytest.raises(ChannelFull, match=r"8 messages .* which does not keep up"):
                    await it.publish(more)
        assert await pending == []
        # Alone, a message may be as large as it likes; what is stored counts no longer.
        assert await it.publish([message(9, body=b"x" * 2_000)]) == []
        results = await asyncio.gather(it.publish(messages(1)), it.publish(messages(1)))
        assert [*results] == [[], []]

    assert len(await stored(channel)) == 11


async def test_what_nobody_waits_for_any_more_counts_until_the_server_has_confirmed_it(
    rabbitmq: str,
    rabbitmq_relay: Relay,
    channel: AbstractChannel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "MAX_PENDING_MESSAGES", 10)
    async with under_way(settings_of(rabbitmq_relay.in_url(rabbitmq))) as it:
        monkeypatch.setattr(publishing, "_CONFIRMED_WITHIN", 0.1)
        with rabbitmq_relay.hung():
            for call in (messages(4, start=1), messages(5, start=5)):
                with pytest.raises(ChannelUnavailable, match="not confirmed"):
                    await it.publish(call)
            with pytest.raises(ChannelFull, match="9 messages"):
                await it.publish(messages(2, start=10))
        monkeypatch.undo()
        assert await it.publish(messages(10, start=10)) == []
        assert it._pending_messages == it._pending_bytes == 0

    assert await stamps(channel) == stamps_of(messages(20))


# --- when the server is out ----------------------------------------------------------------


@asynccontextmanager
async def under_way(
    settings: Settings, *, heartbeat: timedelta = HEARTBEAT
) -> AsyncIterator[Publishing]:
    """Publish, something to begin with."""
    async with Publishing(settings, heartbeat=heartbeat) as it:
        assert await it.publish([message()]) == []
        yield it


async def test_what_is_on_its_way_when_the_connection_is_lost_is_told_so_and_so_is_what_follows(
    rabbitmq: str, rabbitmq_relay: Relay, channel: AbstractChannel
) -> None:
    out = rabbitmq_relay.address
    async with under_way(settings_of(rabbitmq_relay.in_url(rabbitmq))) as it:
        with rabbitmq_relay.hung():
            pending = asyncio.create_task(it.publish(messages(3, start=1)))
            await until(lambda: it._calls and not it._to_write)
            with rabbitmq_relay.cut():
                with pytest.raises(ChannelUnavailable, match=out):
                    await pending
                assert it.is_out
                with pytest.raises(ChannelUnavailable, match=out):
                    it.check()
                with pytest.raises(ChannelUnavailable, match=out):
                    await it.publish(messages(1))
        await until(lambda: not it.is_out)
        it.check()
        assert await it.publish(messages(2, start=10)) == []
        assert it._pending_messages == it._pending_bytes == 0

    assert await stamps(channel) == ["stamp-0", "stamp-10", "stamp-11"]


async def test_who_waits_for_a_server_gone_silent_is_told_so(
    rabbitmq: str, rabbitmq_relay: Relay, channel: AbstractChannel
) -> None:
    settings = settings_of(rabbitmq_relay.in_url(rabbitmq))
    async with under_way(settings, heartbeat=timedelta(seconds=1)) as it:
        assert it._link._connection is not None
        assert it._link._connection.heartbeat_timeout == 1
        with (
            rabbitmq_relay.hung(),
            pytest.raises(ChannelUnavailable, match="silent for too long"),
        ):
            await it.publish(messages(3))


async def test_what_is_not_confirmed_in_time_is_told_so_and_may_be_stored_yet(
    rabbitmq: str,
    rabbitmq_relay: Relay,
    channel: AbstractChannel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "_CONFIRMED_WITHIN", 0.5)
    async with under_way(settings_of(rabbitmq_relay.in_url(rabbitmq))) as it:
        with (
            rabbitmq_relay.hung(),
            pytest.raises(ChannelUnavailable, match=r"not confirmed .* queue 'orders'"),
        ):
            await it.publish(messages(3, start=1))
        assert await it.publish(messages(3, start=4)) == []

    assert await stamps(channel) == stamps_of(messages(7))


async def test_whoever_leaves_ends_what_is_on_its_way(
    rabbitmq: str, rabbitmq_relay: Relay, channel: AbstractChannel
) -> None:
    async with under_way(settings_of(rabbitmq_relay.in_url(rabbitmq))) as it:
        with rabbitmq_relay.hung():
            pending = asyncio.create_task(it.publish([message()]))
            await asyncio.sleep(0)
            await it.__aexit__(None, None, None)

    with pytest.raises(ChannelUnavailable, match="shutting down"):
        await pending


@pytest.mark.parametrize("way", [plain, tls])
async def test_whoever_leaves_is_not_held_up_by_what_a_silent_server_does_not_read(
    rabbitmq_listeners: Listeners, way: Way
) -> None:
    settings = way(rabbitmq_listeners)
    before = asyncio.all_tasks()
    async with Relay(f"{HOST}:{free_port()}", to=settings.server) as relay:
        port = int(relay.address.partition(":")[2])
        # Heartbeats, too, would end the connection in the end.
        it = Publishing(replace(settings, port=port), heartbeat=timedelta(hours=1))
        await it.__aenter__()
        await it.publish([message(queue="none")])
        with relay.hung():
            large = message(queue="none", body=b"x" * (32 << 20))
            pending = asyncio.create_task(it.publish([large]))
            await until(lambda: it._calls and not it._to_write)
            async with asyncio.timeout(20):  # less than TLS would wait by itself
                await it.__aexit__(None, None, None)

            with pytest.raises(ChannelUnavailable):
                await pending
    await until(lambda: asyncio.all_tasks() == before)


async def test_whoever_leaves_while_a_channel_is_opened_is_not_held_up(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_CANCELLED_EVERY", AN_HOUR)  # the leaving is not tried again
    settings = settings_of(rabbitmq)
    for steps in range(30):
        async with asyncio.timeout(SOON), Publishing(settings) as it:
            await it.publish([replace(message(), exchange="gone")])
            for _ in range(steps):
                await asyncio.sleep(0)


async def test_those_who_are_cancelled_leave_the_others_alone(
    rabbitmq: str, channel: AbstractChannel
) -> None:
    async with under_way(settings_of(rabbitmq)) as it:
        early = asyncio.create_task(it.publish([message(900)]))
        await asyncio.sleep(0)
        early.cancel()
        calls = [asyncio.create_task(it.publish([each])) for each in messages(500)]
        for number, call in enumerate(calls):
            if number % 2:
                call.cancel()
            elif number % 10 == 0:
                await asyncio.sleep(0)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert await it.publish(messages(2, start=500)) == []
        assert it._pending_messages == it._pending_bytes == 0

    found = await stamps(channel)
    for number, result in enumerate(results):
        assert result == [] or isinstance(result, asyncio.CancelledError)
        assert f"stamp-{number}" in found or number % 2
    assert len(found) == len({*found}) + 1  # the one to begin with
    assert early.cancelled()
    assert "stamp-900" not in found


# --- on a server of one's own --------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server(
    rabbitmq_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitMQServer]:
    """Return a server that no other test has, so that it can be put into any state."""
    folder = tmp_path_factory.mktemp("rabbitmq")
    with RabbitMQServer(folder, rabbitmq_distribution) as server:
        yield server


@asynccontextmanager
async def alarmed(server: RabbitMQServer, alarm: str) -> AsyncIterator[None]:
    """Have an alarm while the context lasts."""
    context = server.memory_alarm() if alarm == "memory" else server.disk_alarm()
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


@pytest.mark.parametrize("alarm", ["memory", "disk"])
async def test_while_the_server_has_an_alarm_whoever_publishes_is_told_which(
    own_server: RabbitMQServer, alarm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(own_server.listeners.url())
    async with beside(settings) as channel, Publishing(settings) as it:
        await channel.queue_declare("orders", durable=True)
        await channel.queue_purge("orders")
        await it.publish(messages(1))
        async with alarmed(own_server, alarm):
            since = asyncio.get_running_loop().time()
            with pytest.raises(ChannelFull, match=f"alarm: low on {alarm}"):
                await it.publish([message(1), message(2, body=b"x" * (16 << 20)), message(5)])
            assert asyncio.get_running_loop().time() - since >= 1  # of which some was confirmed

            monkeypatch.setattr(publishing, "_BLOCKED_FOR", AN_HOUR)  # and that is not awaited
            with pytest.raises(ChannelFull, match=f"alarm: low on {alarm}"):
                await it.publish([message(3)])
            with pytest.raises(ChannelFull, match=f"alarm: low on {alarm}"):
                it.check()
            assert not it.is_out
        await until(lambda: it._link.blocked is None)
        it.check()
        assert await it.publish([message(4)]) == []

        # What the server had been sent is stored after all; the rest never went out.
        await until(lambda: it._pending_messages == it._pending_bytes == 0)
        assert await stamps(channel) == ["stamp-0", "stamp-1", "stamp-2", "stamp-4"]


async def test_a_message_that_is_too_large_for_the_server_is_told_so_and_the_others_are_stored(
    own_server: RabbitMQServer,
) -> None:
    setting = "application:set_env(rabbit, max_message_size, 100000)."
    await asyncio.to_thread(own_server.ctl, "eval", setting)
    settings = settings_of(own_server.listeners.url())
    async with beside(settings) as channel, Publishing(settings) as it:
        await channel.queue_declare("orders", durable=True)
        await channel.queue_purge("orders")
        large = [message(1_000 + number, body=b"x" * 100_001) for number in range(2)]
        largest = message(400, body=b"x" * 100_000)

        refused, *taken, refused_too = await asyncio.gather(
            it.publish([message(1_000), large[0]]),
            *[it.publish(messages(4, start=start)) for start in range(0, 400, 4)],
            it.publish([largest]),
            it.publish([large[1]]),
            return_exceptions=True,
        )

        for each in (refused, refused_too):
            assert isinstance(each, TooLarge)
            assert "100,001 bytes, more than the 100,000" in str(each)
            assert "max_message_size" in str(each)
        assert taken == [[]] * 101
        assert it._pending_messages == it._pending_bytes == 0
        found = set(await stamps(channel))
        assert found - {"stamp-1000"} == set(stamps_of(messages(401)))


async def test_a_server_whose_frames_cannot_take_the_headers_is_refused(
    own_server: RabbitMQServer,
) -> None:
    for size in (32_768, 131_072):
        setting = f"application:set_env(rabbit, frame_max, {size})."
        await asyncio.to_thread(own_server.ctl, "eval", setting)
        if size < 65_536:
            with pytest.raises(ChannelUnavailable, match=r"frames of up to 32,768 .* 'frame_max'"):
                await connect(settings_of(own_server.listeners.url()), "test")

    async with beside(settings_of(own_server.listeners.url())) as channel:
        assert channel.connection.is_opened


async def test_what_was_confirmed_outlives_a_crash_of_the_server(
    own_server: RabbitMQServer,
) -> None:
    settings = settings_of(own_server.listeners.url())
    async with beside(settings) as channel:
        await channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
    # A crash within seconds of its declaration costs RabbitMQ 3.10 the queue, or it never answers.
    await asyncio.to_thread(own_server.ctl, "eval", "[dets:sync(T) || T <- dets:all()].")
    async with Publishing(settings) as it:
        await it.publish([replace(each, routing_key="kept") for each in messages(100)])
        await asyncio.to_thread(own_server.kill)
        await until(lambda: it.is_out)
        await asyncio.to_thread(own_server.start)
        await until(lambda: not it.is_out)
        await it.publish([message(100, queue="kept")])

    async with beside(settings) as channel:
        assert await stamps(channel, "kept") == stamps_of(messages(101))
