"""Who gets which connection."""

from __future__ import annotations

import asyncio
import socket

from broker.app.serving import listening
from broker.workers.connections import Connections


class Taker:
    """Takes connections, or not, and notes from which port they came."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.taken: list[int] = []

    def __call__(self, connection: socket.socket) -> bool:
        if self.takes:
            self.taken.append(connection.getpeername()[1])
            connection.close()
        return self.takes


async def connect(port: int, *takers: Taker) -> None:
    """Connect, and return once somebody has taken the connection."""
    before = sum(len(each.taken) for each in takers)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        while sum(len(each.taken) for each in takers) == before:
            await asyncio.sleep(0.001)
    writer.close()


async def test_connections_are_handed_out_in_turn() -> None:
    takers = [Taker(), Taker(), Taker()]
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with Connections(listener, takers[0], takers[1:]):
            for _ in range(9):
                await connect(port, *takers)

    assert [len(each.taken) for each in takers] == [3, 3, 3]


async def test_one_that_takes_none_now_is_passed_over_and_gets_its_turn_again_later() -> None:
    first, second, third = takers = [Taker(), Taker(takes=False), Taker()]
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with Connections(listener, first, [second, third]):
            for _ in range(4):
                await connect(port, *takers)
            assert (len(first.taken), len(second.taken), len(third.taken)) == (2, 0, 2)

            second.takes = True
            for _ in range(3):
                await connect(port, *takers)

    assert (len(first.taken), len(second.taken), len(third.taken)) == (3, 1, 3)


async def test_what_is_closed_accepts_no_more() -> None:
    taker = Taker()
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with Connections(listener, taker, []) as connections:
            connections.close()
            connections.close()
            try:
                await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                pass
            else:
                raise AssertionError("the listener is still open")
