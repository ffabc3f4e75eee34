"""Misbehaviour below HTTP: peers that take a connection and nothing else, or not even that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def half_open() -> AsyncIterator[str]:
    """Accept connections and never read: yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """Answer no more attempts to connect, as a host that is gone does: yield the URL.

    A server whose backlog is full drops them.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting: list[socket.socket] = []
        try:
            while True:
                peer = socket.socket()
                peer.setblocking(False)
                waiting.append(peer)
                try:
                    async with asyncio.timeout(0.2):
                        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
                except TimeoutError:
                    break
            yield f"http://127.0.0.1:{port}/"
        finally:
            for peer in waiting:
                peer.close()
