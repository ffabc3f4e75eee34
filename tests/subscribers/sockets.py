"""Misbehaviour below HTTP: peers that take a connection and nothing else, or not even that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.services.subscribers import linger_not


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
                    if not _is_connected(peer):  # as it may be, on a busy machine
                        break
            yield f"http://127.0.0.1:{port}/"
        finally:
            for peer in waiting:
                peer.close()


def _is_connected(peer: socket.socket) -> bool:
    try:
        peer.getpeername()
    except OSError:
        return False
    return True


@asynccontextmanager
async def resetting() -> AsyncIterator[str]:
    """Reset every connection as soon as it is there: yield the URL."""

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger_not(writer)
        writer.transport.abort()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@asynccontextmanager
async def complaining() -> AsyncIterator[str]:
    """Answer that the request is bad whatever it is, also TLS: yield the URL."""

    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.transport.abort()

    async with await asyncio.start_server(complain, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
