"""What RabbitMQ has not confirmed: it may be stored all the same, and the books are right anyway.

Each queue stores for itself, and the confirm comes when all of them have. An event that is refused,
since a queue is full or the server is killed in between, is sent again, and every trigger gets it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel

from broker.channels.rabbitmq import place
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.entries import decode
from broker.channels.rabbitmq.names import trigger_name
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.errors import ChannelFull, ChannelUnavailable
from broker.filters import EVERYTHING
from broker.ports import Outcome
from tests.contract.harness import BROKER
from tests.contract.rabbitmq import (
    QUEUE,
    STREAMS,
    append_at_last,
    client,
    has_written_down,
    opened,
    until,
)
from tests.contract.test_channel import TRIGGER, event, events, numbers
from tests.contract.test_rabbitmq_outages import subscribed
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.relay import Relay

pytestmark = pytest.mark.timeout(180)

OTHER: Final = "default/other"
OTHER_QUEUE: Final = trigger_name(BROKER, OTHER)

_HALT: Final = (
    '{ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, '
    f'<<"{OTHER_QUEUE}">>)), {{Name, _}} = amqqueue:get_pid(Queue), sys:suspend(Name).'
)
"""Erlang by which the server takes nothing into that queue any more."""


async def test_each_book_tells_what_its_own_queue_got_of_what_a_crash_left_unconfirmed(
    rabbitmq_server: RabbitMQServer, tmp_path: Path
) -> None:
    await asyncio.to_thread(rabbitmq_server.start)
    try:
        async with (
            opened(rabbitmq_server.listeners.url(), tmp_path) as channel,
            subscribed(channel) as subscriber,
            subscribed(channel, OTHER) as other,
        ):
            await channel.append(events(10))
            for each in (subscriber, other):
                await each.has(numbers(10))
            await until(lambda: has_written_down(rabbitmq_server, STREAMS, QUEUE, OTHER_QUEUE))
            await asyncio.to_thread(rabbitmq_server.ctl, "eval", _HALT)
            appending = asyncio.create_task(channel.append([event("torn")]))
            await subscriber.has([*numbers(10), "torn"])
            await until(lambda: is_stored(channel, "torn"))
            await asyncio.to_thread(rabbitmq_server.kill)
            with pytest.raises(ChannelUnavailable):
                await appending

            await asyncio.to_thread(rabbitmq_server.start)
            await append_at_last(channel, event("torn"))

            await other.has([*numbers(10), "torn"])
            await until(lambda: has_matched(channel, TRIGGER, 12))
            await until(lambda: has_matched(channel, OTHER, 11))
            assert await channel.accepted() == 12
            assert [each.event.id for each in await channel.history(id="torn")] == ["torn"] * 2
    finally:
        await asyncio.to_thread(rabbitmq_server.stop)


async def test_what_one_full_queue_refuses_the_others_have_as_often_as_it_is_sent(
    rabbitmq: str, rabbitmq_management: Management, tmp_path: Path
) -> None:
    body = {"pattern": f"^{re.escape(QUEUE)}$", "definition": {"max-length": 1}}
    rabbitmq_management.put("policies", unquote(urlsplit(rabbitmq).path[1:]), "short", body=body)
    async with (
        opened(rabbitmq, tmp_path) as channel,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=1),
        subscribed(channel, OTHER) as other,
    ):
        await until(lambda: is_refused(channel, "some"))
        for _ in range(2):
            assert await is_refused(channel, "refused")

        await until(lambda: other.got.count("refused") == 2)
        assert [each.event.id for each in await channel.history(id="refused")] == ["refused"] * 2


async def test_what_an_entry_counts_stays_counted_though_its_confirm_is_lost(
    rabbitmq: str, rabbitmq_relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(rabbitmq_relay.in_url(rabbitmq), tmp_path) as channel:
        publish, cut = channel._publishing.publish, ExitStack()

        async def cut_off(outgoing: Sequence[Outgoing]) -> Sequence[Outgoing]:
            returned = await publish(outgoing)
            if any(settles_something(each) for each in outgoing):
                monkeypatch.undo()
                cut.enter_context(rabbitmq_relay.cut())
                raise ChannelUnavailable("the network was cut before the confirm came")
            return returned

        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=10) as cursor:
            await channel.append(events(10))
            claims = cursor.claims()
            taken = [await anext(claims) for _ in range(10)]
            monkeypatch.setattr(channel._publishing, "publish", cut_off)
            for claim in taken:
                cursor.settle(claim, Outcome.DELIVERED)
            async with client(rabbitmq) as other:  # who knows of the entry, and acks them
                for _ in range(10):
                    await until(lambda: gets_one(other))
            cut.close()
            await until(lambda: not channel._dispatching.places[TRIGGER].in_hand)

            await append_at_last(channel, event("last"))
            cursor.settle(await anext(claims), Outcome.DELIVERED)
            await until(lambda: has_matched(channel, TRIGGER, 11))


async def test_what_others_have_counted_and_acked_while_a_network_was_cut_is_not_in_hand_after_it(
    rabbitmq: str, rabbitmq_relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_COMES_AGAIN_WITHIN", timedelta(hours=1) // timedelta.resolution)
    async with (
        opened(rabbitmq_relay.in_url(rabbitmq), tmp_path) as channel,
        opened(rabbitmq, tmp_path) as other,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=1) as cursor,
    ):
        await other.append([event("claimed")])
        claim = await anext(cursor.claims())
        here = channel._dispatching.places[TRIGGER]
        stamp = here.in_hand[0].stamp or ""
        with rabbitmq_relay.cut():
            async with subscribed(other):
                await until(lambda: other._dispatching.places[TRIGGER].delivered)
                await other._state.barrier()
                await until(lambda: is_acked(other, stamp))
        await until(lambda: has_read(channel))
        assert not channel._state.ledger.was_settled(TRIGGER, stamp)

        cursor.settle(claim, Outcome.DELIVERED)
        await until(lambda: here.known(stamp) is None)
        assert here.delivered == 0


async def is_acked(channel: RabbitmqChannel, stamp: str) -> bool:
    """Return whether the message is known to be acked, which is told with what is settled next."""
    await channel.append([event("another")])
    return not channel._state.ledger.was_settled(TRIGGER, stamp)


async def has_read(channel: RabbitmqChannel) -> bool:
    """Return whether the channel knows, over another connection, what others have told."""
    try:
        await channel._state.barrier()
    except ChannelUnavailable:
        return False
    return True


def settles_something(outgoing: Outgoing) -> bool:
    entry = decode(outgoing.message.body)
    return entry is not None and bool(entry.settled)


async def gets_one(client: AbstractChannel) -> bool:
    """Return whether there was a message in the queue of the trigger, and take it out."""
    got = await client.basic_get(QUEUE, no_ack=True)
    return not isinstance(got.delivery, spec.Basic.GetEmpty)


async def is_refused(channel: RabbitmqChannel, id: str) -> bool:
    try:
        await channel.append([event(id)])
    except ChannelFull:
        return True
    return False


async def is_stored(channel: RabbitmqChannel, id: str) -> bool:
    return bool(await channel.history(id=id))


async def has_matched(channel: RabbitmqChannel, trigger: str, count: int) -> bool:
    """Return whether the books say that so many matched, and all of them are delivered."""
    books = (await channel.books())[trigger]
    return (books.matched, books.delivered, books.waiting) == (count, count, 0)
