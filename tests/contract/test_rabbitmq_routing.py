"""Which queues RabbitMQ puts an event into, whichever way it is published, and whoever bound them.

A queue may get more than its trigger wants, which is asked when the event is received. So what is
looked at here is what lies in the queue.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel

from broker.cesql import parse
from broker.channels.rabbitmq import feeding
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.names import trigger_name
from broker.channels.rabbitmq.routing import Routes, routes
from broker.channels.rabbitmq.topology import Topology
from broker.codecs.amqp import decode, encode
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import EVERYTHING, All, Any, Cesql, Exact, Filter, Legacy, Not, Prefix
from broker.ports import Outcome
from tests.contract.harness import BROKER
from tests.contract.rabbitmq import EXCHANGE, QUEUE, client, opened, part, until
from tests.contract.test_channel import TRIGGER
from tests.services.rabbitmq.management import Management

pytestmark = pytest.mark.timeout(180)

KEYED: Final = part("keyed")
UNKEYED: Final = part("unkeyed")
LONG: Final = "com.example." + "x" * 200
STRANGE: Final = "a.*.#.%2E..é"
BY_TYPE: Final = Exact((("type", "order"),))


def event(id: str, type: str = "order", **attributes: str) -> Event:
    known = {"specversion": "1.0", "id": id, "source": "/shop", "type": type}
    return Event({**known, **attributes}, b"{}")


EVENTS: Final = [
    event("order"),
    event("order-1042", subject="1042"),
    event("order-berlin", source="/shop/berlin"),
    event("order-urgent", priority="high"),
    event("order-structured", big="y" * 10_000),
    event("invoice", "invoice"),
    event("long", LONG),
    event("longer", LONG + "y"),
    event("strange", STRANGE),
    event("stranger", STRANGE.replace("*", "x")),
]
IDS: Final = [each.id for each in EVENTS]
ORDERS: Final = [each for each in IDS if each.startswith("order")]

WANTED: Final[Mapping[str, tuple[Filter, Sequence[str]]]] = {
    "all": (EVERYTHING, IDS),
    "type": (BY_TYPE, ORDERS),
    "legacy": (Legacy((("type", "invoice"), ("source", ""))), ["invoice"]),
    "source": (Exact((("source", "/shop/berlin"),)), ["order-berlin"]),
    "subject": (Exact((("type", "order"), ("subject", "1042"))), ["order-1042"]),
    "other": (
        Exact((("type", "order"), ("priority", "high"))),
        ["order-urgent", "order-structured"],  # of which no header tells
    ),
    "present": (All((BY_TYPE, Cesql(parse("EXISTS priority")))), ORDERS),
    "any": (
        Any((Exact((("type", "invoice"),)), Exact((("source", "/shop/berlin"),)))),
        ["invoice", "order-berlin"],
    ),
    "not": (Not(BY_TYPE), IDS),
    "prefix": (Prefix((("type", "ord"),)), IDS),
    "long": (Exact((("type", LONG),)), ["long"]),
    "strange": (Exact((("type", STRANGE),)), ["strange"]),
}
"""Filters, and what of the above is to be in the queue of each."""

COMPARED: Final[Mapping[str, Sequence[str]]] = {
    "any": IDS,
    "present": ["order-urgent", "order-structured"],
    **{
        name: [*WANTED[name][1], "order-structured"]
        for name in ("legacy", "source", "subject", "long", "strange")
    },
}
"""What else is in some of the queues, where nothing but headers tells."""


async def publish(client: AbstractChannel, events: Iterable[Event], routing_key: str = "") -> None:
    """Publish as others do, and as the mesh did before there were keys."""
    for each in events:
        message = encode(each)
        properties = spec.Basic.Properties(
            headers=dict(message.headers), content_type=message.content_type, delivery_mode=2
        )
        await client.basic_publish(
            message.body, exchange=EXCHANGE, routing_key=routing_key, properties=properties
        )


async def ids_in(client: AbstractChannel, queue: str) -> Counter[str]:
    """Take all events out of a queue, and return how often each was there."""
    found: Counter[str] = Counter()
    while True:
        message = await client.basic_get(queue, no_ack=True)
        if isinstance(message.delivery, spec.Basic.GetEmpty):
            return found
        properties = message.header.properties
        headers = properties.headers or {}
        found[decode(headers, message.body, content_type=properties.content_type)[0].id] += 1


@pytest.mark.parametrize("routing_key", ["", "order", "a.b.c.d"])
async def test_what_others_publish_is_once_in_each_queue_that_it_may_be_for(
    rabbitmq: str, tmp_path: Path, routing_key: str
) -> None:
    async with opened(rabbitmq, tmp_path) as channel, client(rabbitmq) as other:
        for name, (wanted, _) in WANTED.items():
            async with channel.subscribe(f"default/{name}", filter=wanted, window=1):
                pass

        await publish(other, EVENTS, routing_key)

        expected = {name: COMPARED.get(name, ids) for name, (_, ids) in WANTED.items()}
        for name, ids in expected.items():
            assert await ids_in(other, trigger_name(BROKER, f"default/{name}")) == Counter(ids), (
                name
            )
        assert [each.event.id for each in await channel.history()] == IDS


async def test_what_the_mesh_appends_is_once_in_each_queue_that_it_may_be_for(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with opened(rabbitmq, tmp_path) as channel, client(rabbitmq) as other:
        for name, (wanted, _) in WANTED.items():
            async with channel.subscribe(f"default/{name}", filter=wanted, window=1):
                pass

        await channel.append(EVENTS)

        for name, (_, ids) in WANTED.items():
            assert await ids_in(other, trigger_name(BROKER, f"default/{name}")) == Counter(ids), (
                name
            )
        assert [each.event.id for each in await channel.history()] == IDS


# --- one version of the mesh after the other -----------------------------------------------


class Bound(msgspec.Struct, frozen=True):
    """A binding, as the server's management has it."""

    source: str
    destination: str
    routing_key: str


@pytest.fixture
def bound(rabbitmq: str, rabbitmq_management: Management) -> Callable[[], set[tuple[str, str]]]:
    """Return what tells by which exchanges the trigger's queue is bound, and with which keys."""
    vhost = unquote(urlsplit(rabbitmq).path[1:])

    def found() -> set[tuple[str, str]]:
        return {
            (each.source, each.routing_key)
            for each in rabbitmq_management.get(list[Bound], "bindings", vhost)
            if each.destination == QUEUE and each.source
        }

    return found


LOOKED_UP: Final = {(KEYED, "ce.order.*.*"), (UNKEYED, "")}


def headers_alone(filter: Filter) -> Routes:
    """Return by what versions without keys bind a queue, and what they note of it."""
    return Routes(headers=routes(filter).headers)


@asynccontextmanager
async def delivering(channel: RabbitmqChannel) -> AsyncIterator[Counter[str]]:
    """Subscribe the trigger, and tell what it has been delivered."""
    got: Counter[str] = Counter()
    async with channel.subscribe(TRIGGER, filter=BY_TYPE, window=50) as cursor:

        async def deliver() -> None:
            async for claim in cursor.claims():
                got[claim.event.id] += 1
                cursor.settle(claim, Outcome.DELIVERED)

        delivery = asyncio.create_task(deliver())
        try:
            yield got
        finally:
            delivery.cancel()
            await asyncio.wait([delivery])


async def test_versions_with_keys_and_without_take_turns_and_lose_nothing(
    rabbitmq: str,
    tmp_path: Path,
    bound: Callable[[], set[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: set[str] = set()
    total: Counter[str] = Counter()
    numbers = itertools.count()
    enough = asyncio.Event()

    async def send(append: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        while not enough.is_set():
            number = str(next(numbers))
            await append([event(number)])
            sent.add(number)

    async with (
        opened(rabbitmq, tmp_path / "1") as ingress,
        client(rabbitmq) as former,
        opened(rabbitmq, tmp_path / "2") as dispatcher,
    ):
        turns = [headers_alone, routes, headers_alone, routes, headers_alone, routes]
        publishing: list[asyncio.Task[None]] = []
        for kind in turns:
            monkeypatch.setattr(feeding, "routes", kind)
            async with delivering(dispatcher) as got:
                publishing = publishing or [
                    asyncio.create_task(send(ingress.append)),
                    asyncio.create_task(send(partial(publish, former))),
                ]
                await until(lambda got=got: len(got) > 20)  # type: ignore[misc]
                assert bound() == (LOOKED_UP if kind is routes else {(EXCHANGE, "")})
            total += got
        enough.set()
        await asyncio.gather(*publishing)
        async with delivering(dispatcher) as got:
            await until(lambda: (total + got).keys() >= sent)
        total += got

    assert total == Counter(sent)


async def test_a_change_that_was_broken_off_is_made_good_by_who_comes_next(
    rabbitmq: str,
    tmp_path: Path,
    bound: Callable[[], set[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def break_off(*_: object, **__: object) -> None:
        raise ChannelUnavailable("broken off")

    async with opened(rabbitmq, tmp_path / "1") as channel:
        with monkeypatch.context() as patch:
            patch.setattr(feeding, "routes", headers_alone)
            async with delivering(channel):
                pass
        with monkeypatch.context() as patch:
            patch.setattr(Topology, "unbind", break_off)
            subscription = delivering(channel)
            with pytest.raises(ChannelUnavailable, match="broken off"):
                await subscription.__aenter__()
        assert bound() == {*LOOKED_UP, (EXCHANGE, "")}

    async with opened(rabbitmq, tmp_path / "2") as channel, delivering(channel) as got:
        assert bound() == LOOKED_UP
        await channel.append([event("1")])
        await until(lambda: got == {"1": 1})
    monkeypatch.setattr(Topology, "unbind", break_off)  # as nothing is to be done any more
    async with opened(rabbitmq, tmp_path / "3") as channel, delivering(channel):
        pass


@pytest.mark.parametrize("gone", [KEYED, UNKEYED])
async def test_an_exchange_that_looks_up_is_made_again(
    rabbitmq: str, tmp_path: Path, bound: Callable[[], set[tuple[str, str]]], gone: str
) -> None:
    async with (
        opened(rabbitmq, tmp_path) as channel,
        delivering(channel) as got,
        client(rabbitmq) as other,
    ):
        await other.exchange_delete(gone)
        assert bound() != LOOKED_UP
        await until(lambda: bound() == LOOKED_UP)

        await channel.append([event("1"), event("other", "other")])
        await publish(other, [event("2"), event("another", "other")])

        await until(lambda: got == {"1": 1, "2": 1})


async def test_who_starts_where_such_an_exchange_was_deleted_binds_the_queues_of_others(
    rabbitmq: str, tmp_path: Path, bound: Callable[[], set[tuple[str, str]]]
) -> None:
    async with opened(rabbitmq, tmp_path) as channel, delivering(channel):
        pass
    async with client(rabbitmq) as other:
        await other.exchange_delete(KEYED)

    async with opened(rabbitmq, tmp_path):
        assert bound() == LOOKED_UP
