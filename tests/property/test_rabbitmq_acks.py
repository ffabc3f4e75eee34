"""Whatever order messages are done with in, the server is told of each of them once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Final

import aiormq
import pytest
from aiormq import spec
from aiormq.abc import ChannelFrame
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame

from broker.channels.rabbitmq.acks import Acks
from broker.channels.rabbitmq.settings import Settings

MESSAGES: Final = 12


class Channel(aiormq.Channel):
    """What of a channel is needed to write to it."""

    is_closed = False

    def __init__(self) -> None:
        self.number = 3
        self.connection = SimpleNamespace(write_queue=asyncio.Queue())  # type: ignore[assignment]
        self._Channel__close_event = asyncio.Event()

    def written(self) -> list[bytes]:
        """Return what was written since this was asked."""
        queue: asyncio.Queue[ChannelFrame] = self.connection.write_queue
        return [queue.get_nowait().payload for _ in range(queue.qsize())]


class Server:
    """What the server makes of it: it knows a tag until it is acked or given back."""

    def __init__(self) -> None:
        self.unacked = list(range(1, MESSAGES + 1))
        self.acked: list[int] = []
        self.returned: list[int] = []

    def read(self, data: bytes) -> None:
        while data:
            size, channel, method = frame.unmarshal(data)
            data = data[size:]
            assert channel == 3
            assert isinstance(method, spec.Basic.Ack | spec.Basic.Nack)
            tag = method.delivery_tag or 0
            assert tag in self.unacked  # or it would close the channel
            done = [
                each for each in self.unacked if each == tag or (method.multiple and each < tag)
            ]
            self.unacked = [each for each in self.unacked if each not in done]
            if isinstance(method, spec.Basic.Nack):
                assert method.requeue
                self.returned += done
            else:
                self.acked += done


steps = st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.booleans()), max_size=MESSAGES)


@given(st.permutations(range(1, MESSAGES + 1)), steps)
def test_all_that_is_done_with_is_acked_and_nothing_else(
    tags: list[int], steps: list[tuple[bool, int, bool]]
) -> None:
    server, done, back = Server(), set[int](), list[int]()

    async def tell() -> None:
        channel = Channel()
        acks = Acks(channel, Settings(host="here", port=5672, tls=False, vhost="/"))
        running = asyncio.ensure_future(acks.run())
        left = iter(tags)
        for is_back, count, is_waited_for in steps:
            told = [tag for tag, _ in zip(left, range(count), strict=False)]
            if is_back:
                acks.give_back(told)
                back.extend(told)
            else:
                acks.ack(told)
                done.update(told)
            if is_waited_for:
                await acks.written()
                server.read(b"".join(channel.written()))
        await acks.written()
        server.read(b"".join(channel.written()))
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(tell())

    assert sorted(server.acked) == sorted(done)
    assert server.returned == back


def test_what_is_told_in_one_moment_is_one_write_and_acks_up_to_a_tag_are_one_frame() -> None:
    async def tell() -> list[bytes]:
        channel = Channel()
        acks = Acks(channel, Settings(host="here", port=5672, tls=False, vhost="/"))
        running = asyncio.ensure_future(acks.run())
        for tag in (4, 1, 3, 6):
            acks.ack([tag])
        acks.give_back([2])
        await acks.written()
        running.cancel()
        await asyncio.wait([running])
        return channel.written()

    [written] = asyncio.run(tell())

    told = (spec.Basic.Nack(2), spec.Basic.Ack(4, multiple=True), spec.Basic.Ack(6))
    assert written == b"".join(frame.marshal(each, 3) for each in told)


def test_nothing_is_written_to_a_channel_that_is_being_closed() -> None:
    async def tell() -> list[bytes]:
        channel = Channel()
        channel._Channel__close_event.set()
        acks = Acks(channel, Settings(host="here", port=5672, tls=False, vhost="/"))
        acks.ack([1])
        with pytest.raises(aiormq.exceptions.ChannelInvalidStateError):
            await acks.run()
        await acks.written()
        return channel.written()

    assert asyncio.run(tell()) == []
