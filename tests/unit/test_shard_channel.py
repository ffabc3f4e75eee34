"""What a worker stores in its own shard, and what it leaves to the first process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.channels.shard import ShardChannel
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import BackendOptions, Pause

BROKER = "default/default"


class FirstProcess:
    """Has a channel of its own, and does what is asked of it on that."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.channel = channel
        self.gone = False

    def call(self, name: str, *args: object) -> asyncio.Future[Any]:
        if self.gone:
            raise ChannelUnavailable("the first process does not run now")
        broker, *rest = args
        assert broker == BROKER
        do: Any = {
            "append": self.channel.append,
            "paused": self.channel.pauses.all,
            "put_pause": self.channel.pauses.put,
            "remove_pause": self.channel.pauses.remove,
        }[name]
        done: asyncio.Future[Any] = asyncio.ensure_future(do(*rest))
        return done


@pytest.fixture
async def own() -> MemoryChannel:
    return await new_channel()


@pytest.fixture
async def first() -> FirstProcess:
    return FirstProcess(await new_channel())


async def new_channel() -> MemoryChannel:
    options = BackendOptions(data_dir="", retention_age=timedelta(days=1), retention_bytes=1 << 20)
    return await MemoryBackend(options).channel(BROKER, {}, {})


def event(id: str, key: str | None = None) -> Event:
    attributes = {"specversion": "1.0", "id": id, "source": "/s", "type": "t"}
    return Event(attributes if key is None else {**attributes, "partitionkey": key}, b"")


async def ids(channel: MemoryChannel) -> list[str]:
    return [each.event.id for each in await channel.history()]


@pytest.mark.parametrize("way", ["append", "submit"])
async def test_events_stay_in_the_shard_unless_an_order_of_their_keys_is_asked_for(
    own: MemoryChannel, first: FirstProcess, way: str
) -> None:
    shard = ShardChannel(BROKER, own, first)
    put = getattr(shard, way)

    await put([event("1", key="a")])
    shard.keeps_order = True
    await put([event("2", key="a")])
    await put([event("3")])
    await put([event("4"), event("5", key="b")])  # a batch is stored in one place, or not at all
    shard.keeps_order = False
    await put([event("6", key="a")])

    assert await ids(own) == ["1", "3", "6"]
    assert await ids(first.channel) == ["2", "4", "5"]


async def test_a_redrive_stays_in_the_shard_that_had_the_dead_letter(
    own: MemoryChannel, first: FirstProcess
) -> None:
    shard = ShardChannel(BROKER, own, first)
    shard.keeps_order = True

    await shard.append([event("1", key="a")], to="default/audit")

    assert await ids(own) == ["1"]
    assert await ids(first.channel) == []


async def test_nothing_is_stored_elsewhere_where_the_first_process_is_gone(
    own: MemoryChannel, first: FirstProcess
) -> None:
    shard = ShardChannel(BROKER, own, first)
    shard.keeps_order = True
    first.gone = True

    with pytest.raises(ChannelUnavailable, match="the first process does not run now"):
        await shard.append([event("1", key="a")])

    assert await ids(own) == []


async def test_pauses_are_those_of_the_first_process(
    own: MemoryChannel, first: FirstProcess
) -> None:
    shard = ShardChannel(BROKER, own, first)
    pause = Pause(why="moving house", since=datetime.now(UTC))

    await shard.pauses.put("default/audit", pause)

    assert await first.channel.pauses.all() == {"default/audit": pause}
    assert await shard.pauses.all() == {"default/audit": pause}
    assert await own.pauses.all() == {}
    await shard.pauses.remove("default/audit")
    assert await first.channel.pauses.all() == {}
