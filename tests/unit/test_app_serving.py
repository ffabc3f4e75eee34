from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.app.serving import listening, served, url
from broker.errors import CemeshError, DataDirectoryInUse

LONG = timedelta(minutes=10)


class App:
    """Answers once it may, with what was sent."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.starlette = Starlette(routes=[Route("/", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> PlainTextResponse:
        self.asked.set()
        try:
            body = await request.body()
        except ClientDisconnect:
            self.left.set()
            return PlainTextResponse("nobody reads this")
        await self.may.wait()
        return PlainTextResponse(body)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening("127.0.0.1", 0) as listener:
        yield listener


async def exchange(address: tuple[str, int], body: bytes) -> bytes:
    """Send a request with a body of three bytes, or the beginning of one; return what comes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n" + body)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def refuses_connections(address: tuple[str, int]) -> None:
    """Return once nobody listens there."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(*address)
                writer.close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                pass  # it was about to be accepted when the listener closed


async def test_an_error_of_the_mesh_comes_out_of_the_context_as_it_was(
    listener: socket.socket,
) -> None:
    error = DataDirectoryInUse("by process 1")

    with pytest.raises(DataDirectoryInUse) as caught:
        async with served(App().starlette, listener, linger=LONG):
            raise error

    assert caught.value is error


async def test_at_the_end_requests_under_way_are_answered_and_no_more_are_taken(
    listener: socket.socket,
) -> None:
    app = App()
    address = listener.getsockname()
    async with served(app.starlette, listener, linger=LONG) as port:
        answer = asyncio.create_task(exchange(address, b"abc"))
        await app.asked.wait()
        port.close()
        await refuses_connections(address)
        app.may.set()

    assert (await answer).endswith(b"\r\n\r\nabc")


async def test_broken_off_it_leaves_clients_that_dawdle(listener: socket.socket) -> None:
    app = App()
    async with asyncio.timeout(30), served(app.starlette, listener, linger=LONG) as port:
        answer = asyncio.create_task(exchange(listener.getsockname(), b"a"))
        await app.asked.wait()
        port.close()
        port.break_off()
        await app.left.wait()

    assert await answer == b""


def test_a_port_that_is_taken_is_told() -> None:
    with listening("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with (
            pytest.raises(CemeshError, match=rf"127\.0\.0\.1:{taken}: Address already in use"),
            listening("127.0.0.1", taken),
        ):
            raise AssertionError


def test_a_host_that_is_none_is_told() -> None:
    with (
        pytest.raises(CemeshError, match=r"cannot listen on no\.such\.host\.invalid"),
        listening("no.such.host.invalid", 0),
    ):
        raise AssertionError


def test_the_url_is_one_that_a_client_can_use(listener: socket.socket) -> None:
    assert url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
