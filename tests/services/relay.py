"""A stretch of network that can fail: a relay between clients on loopback and their server.

    async with Relay("127.0.0.1:19092", to="127.0.0.1:9092") as relay:
        with relay.cut():
            ...  # the server cannot be reached
        with relay.hung():
            ...  # it can, and does not answer

It runs on the event loop of the test, so that what a ``with`` says holds from there on: not a
byte passes that has not passed before.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self
from urllib.parse import urlsplit

_Pair = tuple[socket.socket, socket.socket]

_CHUNK: Final = 256 << 10
_BACKLOG: Final = 128


class Relay:
    """Hands on what clients at ``address`` and the server at ``to`` say, while it is entered.

    Both are ``host:port``.
    """

    def __init__(self, address: str, *, to: str) -> None:
        self.address = address
        self._server = _host_and_port(to)
        self._links: dict[asyncio.Task[None], _Pair] = {}
        self._flows = asyncio.Event()
        self._flows.set()

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()
        if self._links:
            await asyncio.wait(self._links)

    def in_url(self, url: str) -> str:
        """Return the URL, with the relay in the place of its host and port."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}{self.address}").geturl()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Close all connections and refuse new ones while the context lasts."""
        self._close()
        try:
            yield
        finally:
            self._listen()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Take connections and what is said on them, and hand nothing on while the context lasts.

        What was taken is handed on after it.
        """
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _listen(self) -> None:
        self._listener = socket.create_server(_host_and_port(self.address), backlog=_BACKLOG)
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for link, pair in self._links.items():
            # A task that is cancelled may still go on for a moment; its sockets may not.
            for each in pair:
                with suppress(OSError):  # it is not connected yet, or no longer
                    each.shutdown(socket.SHUT_RDWR)
            link.cancel()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # the client has given up
            return
        pair = client, socket.socket()
        for each in pair:
            each.setblocking(False)
        link = asyncio.create_task(self._link(*pair))
        self._links[link] = pair
        link.add_done_callback(self._ended)

    def _ended(self, link: asyncio.Task[None]) -> None:
        for each in self._links.pop(link):
            each.close()

    async def _link(self, client: socket.socket, server: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().sock_connect(server, self._server)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass(client, server))
                ways.create_task(self._pass(server, client))
        except* OSError:  # either side is gone, and so is the link
            pass

    async def _pass(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, _CHUNK):
            await self._flows.wait()
            await loop.sock_sendall(target, data)
        await self._flows.wait()
        target.shutdown(socket.SHUT_WR)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
