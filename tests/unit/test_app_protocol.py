from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.app.protocol import MAX_HEAD_BYTES
from broker.app.serving import listening, served

SOON = 30.0


async def _told(request: Request) -> PlainTextResponse:
    body = await request.body()
    return PlainTextResponse(f"{len(request.headers.get('x', ''))} and {len(body)}")


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    app = Starlette(routes=[Route("/", _told, methods=["POST"])])
    with listening("127.0.0.1", 0) as listener:
        async with served(app, listener, linger=timedelta(seconds=1)):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            yield reader, writer
            writer.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(SOON):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        return head + await reader.readexactly(length)


async def test_a_head_that_does_not_end_is_refused() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2 * MAX_HEAD_BYTES)

        assert (await answer(reader)).startswith(b"HTTP/1.1 431 ")
        assert await asyncio.wait_for(reader.read(), SOON) == b""


async def test_headers_of_64_kib_are_taken() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX: ")
        for _ in range(64):
            writer.write(b"a" * 1024)
            await writer.drain()
        writer.write(b"\r\n\r\n")

        assert (await answer(reader)).endswith(b"65536 and 0")


async def test_a_large_body_does_not_count_as_head() -> None:
    size = 4 * MAX_HEAD_BYTES
    async with connected() as (reader, writer):
        for _ in range(3):  # the bound is each request's own
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            writer.write(b"a" * size)
            assert (await answer(reader)).endswith(b"0 and %d" % size)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_an_offered_upgrade_is_declined_and_costs_no_body(
    framing: bytes, body: bytes, pieces: int
) -> None:
    request = (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\nX: abc\r\n" + framing + b"\r\n\r\n" + body
    )
    async with connected() as (reader, writer):
        for _ in range(2):  # the connection goes on
            step = -(-len(request) // pieces)
            for start in range(0, len(request), step):
                writer.write(request[start : start + step])
                await writer.drain()
            assert (await answer(reader)).endswith(b"3 and 5")


async def test_connect_is_no_way_through() -> None:
    async with connected() as (reader, writer):
        writer.write(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")

        assert (await answer(reader)).startswith(b"HTTP/1.1 4")


async def test_what_is_not_http_is_refused() -> None:
    async with connected() as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")

        assert (await answer(reader)).startswith(b"HTTP/1.1 400 ")
