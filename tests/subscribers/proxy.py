"""An HTTP proxy that opens tunnels, for whom every name leads to this machine."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from tests.services.subscribers import Close, Hang, Script, Send, linger_not


class ConnectProxy:
    """A proxy on a free port of 127.0.0.1 while it is entered; ``asked`` are the heads it got.

    With an ``answer`` it does as that says instead of opening a tunnel.
    """

    def __init__(self, answer: Script | None = None) -> None:
        self.asked: list[bytes] = []
        self.port = 0
        self._answer = answer
        self._tunnels: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for tunnel in list(self._tunnels):
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}"

    async def all_closed(self) -> None:
        """Return once no connection is open."""
        # Less than the 30 s after which our client closes what has only rested.
        async with asyncio.timeout(20):
            await asyncio.gather(*self._tunnels)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head)
                if self._answer is None:
                    port = int(head.split(b" ")[1].rpartition(b":")[2])
                    await _open(port, reader, writer)
                else:
                    await _refuse(self._answer, reader, writer)
        finally:
            self._tunnels.discard(task)
            writer.transport.abort()


async def _open(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as both:
            both.create_task(_relay(reader, there_writer))
            both.create_task(_relay(there_reader, writer))
    finally:
        there_writer.transport.abort()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _refuse(
    answer: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    for action in answer.actions:
        match action:
            case Send(data):
                writer.write(data)
                await writer.drain()
            case Hang():
                await reader.read()
            case Close(reset=reset):
                if reset:
                    linger_not(writer)
                    writer.transport.abort()
                else:
                    writer.close()
                    await writer.wait_closed()
            case _:
                raise NotImplementedError(action)
