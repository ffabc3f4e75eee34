"""The two ports: sockets that listen, and uvicorn on them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Final, cast

import uvicorn
from starlette.applications import Starlette

from broker.app.events import EventProtocol
from broker.app.protocol import HttpProtocol
from broker.errors import CemeshError
from broker.ingress import Door

_KEEP_ALIVE: Final = timedelta(seconds=75)
"""How long a client's connection may rest: longer than clients keep theirs, so that it is they
who close it, and no request meets a connection that is closing."""

_BACKLOG: Final = 2048


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen there; port 0 takes any that is free. Raises `CemeshError` where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CemeshError(f"cannot listen on {host}: {error.strerror}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise CemeshError(
                f"cannot listen on {host}:{port}: {error.strerror}; "
                "stop what listens there, or choose another port"
            ) from error
        yield listener


def url(listener: socket.socket) -> str:
    """Return the base URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Port:
    """An application that is served."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def close(self) -> None:
        """Take no more requests. Those under way are answered."""
        self._server.should_exit = True

    def break_off(self) -> None:
        """Take no more requests, and answer none of those under way."""
        self.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()


def configured(app: Starlette, *, linger: timedelta, door: Door | None = None) -> uvicorn.Config:
    """Return how uvicorn is to serve the application, and, before it, the ``door``."""
    protocol = HttpProtocol if door is None else partial(EventProtocol, door=door)
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),  # it is called, and nothing else
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # which alone doubles the throughput
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=round(_KEEP_ALIVE.total_seconds()),
        timeout_graceful_shutdown=max(1, round(linger.total_seconds())),
    )


@asynccontextmanager
async def served(
    app: Starlette, listener: socket.socket, *, linger: timedelta, door: Door | None = None
) -> AsyncIterator[Port]:
    """Serve the application while the context lasts.

    Where there is a ``door``, events go through it, and only the rest to the application. At the
    end of the context, or when it is closed before, the listener closes, and requests under way
    have ``linger`` to be answered.
    """
    server = _Server(configured(app, linger=linger, door=door))
    refused: CemeshError | None = None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        await server.ready.wait()
        try:
            yield Port(server)
        except CemeshError as error:
            refused = error  # raised below: the group would wrap it, and nobody would know it
        finally:
            server.should_exit = True
    if refused is not None:
        raise refused


class _Server(uvicorn.Server):
    """Leaves the signals to the mesh, and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
