"""Asks an API server by HTTP/1.1, by a connection for each request, and reads as it comes."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from broker.connections import faults
from broker.connections.kubernetes.access import Access
from broker.errors import UpstreamUnavailable

_CONNECTS_WITHIN: Final = 10.0
_ANSWERS_WITHIN: Final = 60.0
"""Seconds: the API server itself gives up on what takes it a minute."""

_CHUNK: Final = 256 << 10
_MAX_HEAD: Final = 64 << 10

# A watch is silent where nothing happens: a peer that is gone is found out within half a minute.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Answer:
    """An answer whose head has come. Header names are in lower case."""

    def __init__(self, url: str, reader: asyncio.StreamReader) -> None:
        self._url = url
        self._reader = reader
        self._parser = HttpResponseParser(self)
        self._body: deque[bytes] = deque()
        self._head_complete = False
        self._complete = False
        self._bounded = False
        self.headers: dict[str, str] = {}

    @property
    def status(self) -> int:
        return self._parser.get_status_code()

    async def head(self) -> None:
        """Return once the head is there."""
        size = 0
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                while not self._head_complete:
                    size += await self._feed()
                    if size > _MAX_HEAD and not self._head_complete:
                        raise UpstreamUnavailable(f"{self._url} sends a head without end")
        except TimeoutError:
            raise UpstreamUnavailable(f"{self._url} does not answer in time") from None

    async def body(self, *, most: int) -> bytes:
        """Return the whole body, of at most so many bytes."""
        parts, size = [], 0
        async for part in self.parts(within=_ANSWERS_WITHIN):
            size += len(part)
            if size > most:
                raise UpstreamUnavailable(f"{self._url} answers with more than {most:,} bytes")
            parts.append(part)
        if not self._complete:
            raise UpstreamUnavailable(f"{self._url} does not answer in time")
        return b"".join(parts)

    async def parts(self, *, within: float) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes, until it ends or was waited for for so many seconds."""
        clock = asyncio.get_running_loop().time
        while True:
            while self._body:
                yield self._body.popleft()
            if self._complete:
                return
            before = clock()
            try:
                async with asyncio.timeout(within):
                    await self._feed()
            except TimeoutError:
                return
            within -= clock() - before

    async def _feed(self) -> int:
        """Read on, and return how many bytes came: none, where the end is the connection's."""
        try:
            data = await self._reader.read(_CHUNK)
        except OSError as error:
            raise UpstreamUnavailable(f"{self._url}: {_said(error)}") from None
        if not data:
            if not self._head_complete or self._bounded:
                raise UpstreamUnavailable(f"{self._url} closed the connection amid an answer")
            self._complete = True
            return 0
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise UpstreamUnavailable(f"{self._url} does not speak HTTP/1.1: {error}") from None
        return len(data)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        self._bounded = not {"content-length", "transfer-encoding"}.isdisjoint(self.headers)
        self._head_complete = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is sent to the API server, and what it is."""

    content: bytes
    type: str = "application/json"


@asynccontextmanager
async def asked(
    access: Access,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: Body | None = None,
) -> AsyncIterator[Answer]:
    """Yield the answer to a request for that path, whatever its status is; close it afterwards.

    Raises `UpstreamUnavailable` in words, from within the context as well.
    """
    answer, writer = await _answered(access, path, query, method, body)
    try:
        if answer.status == 401 and await asyncio.to_thread(access.renew):
            await _closed(writer)
            answer, writer = await _answered(access, path, query, method, body)
        yield answer
    finally:
        await _closed(writer)


async def _answered(
    access: Access, path: str, query: Mapping[str, str] | None, method: str, body: Body | None
) -> tuple[Answer, asyncio.StreamWriter]:
    """Return the answer once its head is there, and the connection, which is to be closed."""
    url = access.url.joinpath(*path.strip("/").split("/")).with_query(query)
    token = await asyncio.to_thread(access.token)
    head = {
        "Host": url.raw_authority,
        "Accept": "application/json",
        "User-Agent": "cemesh",
        "Connection": "close",
    }
    if token:
        head["Authorization"] = f"Bearer {token}"
    if body is not None:
        head |= {"Content-Type": body.type, "Content-Length": str(len(body.content))}
    request = f"{method} {url.raw_path_qs} HTTP/1.1\r\n"
    request += "".join(f"{name}: {value}\r\n" for name, value in head.items()) + "\r\n"
    try:
        reader, writer = await _connected(access)
    except UpstreamUnavailable:
        await asyncio.to_thread(access.renew)  # for the next time: it may have moved
        raise
    try:
        answer = Answer(f"the API server at {access.url.origin()}", reader)
        writer.write(request.encode("latin-1") + (b"" if body is None else body.content))
        await answer.head()
    except BaseException:
        await _closed(writer)
        raise
    return answer, writer


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def _connected(access: Access) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    server_name = None if access.tls is None else access.server_name or access.url.host
    host, port = access.url.host or "", access.url.port or 0
    try:
        async with asyncio.timeout(_CONNECTS_WITHIN):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=access.tls, server_hostname=server_name
            )
    except (OSError, TimeoutError) as error:
        where = f"the API server at {access.url.origin()}"
        raise UpstreamUnavailable(f"{where} cannot be reached: {_said(error)}") from None
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # macOS has other names
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return reader, writer


def _said(error: BaseException) -> str:
    # Whom to trust, and who we are, is said by a kubeconfig or by the cluster.
    return faults.said(error, authority=None, certificate=None)
