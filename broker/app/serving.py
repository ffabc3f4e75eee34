"""The two ports: sockets that listen, and uvicorn on them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Final, cast

import uvicorn
from starlette.applications import Starlette

from broker.app.certificates import PortCertificate
from broker.app.events import EventProtocol
from broker.app.protocol import HttpProtocol
from broker.errors import CemeshError
from broker.ingress import Door
from broker.workers.connections import Connections

_log: Final = logging.getLogger("cemesh.tls")

_HANDSHAKE: Final = 15.0
"""Seconds that a client's handshake may take."""

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


def url(listener: socket.socket, *, tls: bool = False) -> str:
    """Return the base URL of what listens there."""
    scheme = "https" if tls else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Port:
    """An application that is served, by TLS where it has a certificate."""

    def __init__(self, server: _Server, tls: PortCertificate | None) -> None:
        self._server = server
        self._tls = tls
        self._on_close: list[Callable[[], None]] = []
        self._taking: set[asyncio.Task[None]] = set()

    def take(self, connection: socket.socket) -> bool:
        """Serve a connection that somebody else has accepted; return True."""
        if self._server.should_exit:
            connection.close()
        else:
            task = asyncio.ensure_future(self._serve(connection))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        return True

    async def _serve(self, connection: socket.socket) -> None:
        loop, tls = asyncio.get_running_loop(), self._tls
        try:
            if tls is None:
                await loop.connect_accepted_socket(self._server.protocol, connection)
                return
            _, protocol = await loop.connect_accepted_socket(
                self._server.protocol,
                connection,
                ssl=tls.context,
                ssl_handshake_timeout=_HANDSHAKE,
            )
        except OSError as error:  # the client has gone, or cannot agree with us on TLS
            _log.debug("connection not taken", extra={"why": str(error)})
            return
        if self._server.should_exit:
            # It came too late to be among those that uvicorn told so.
            cast("HttpProtocol", protocol).shutdown()

    def on_close(self, call: Callable[[], None]) -> None:
        """Have this called when it is to take no more requests."""
        self._on_close.append(call)

    def close(self) -> None:
        """Take no more requests. Those under way are answered."""
        for call in self._on_close:
            call()
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
    app: Starlette,
    listener: socket.socket | None,
    *,
    linger: timedelta,
    door: Door | None = None,
    tls: PortCertificate | None = None,
) -> AsyncIterator[Port]:
    """Serve the application while the context lasts: to whoever comes to the ``listener``, if any.

    Where there is a ``door``, events go through it, and only the rest to the application. With
    ``tls``, each connection has the certificate as it is when it is accepted. At the end of the
    context, or when it is closed before, the listener closes, and requests under way have
    ``linger`` to be answered.
    """
    server = _Server(configured(app, linger=linger, door=door))
    refused: CemeshError | None = None
    # uvicorn's own listeners have one context for good.
    by_uvicorn = [] if listener is None or tls is not None else [listener]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=by_uvicorn))
        await server.ready.wait()
        port = Port(server, tls)
        try:
            with ExitStack() as accepting:
                if listener is not None and tls is not None:
                    connections = accepting.enter_context(Connections(listener, port.take, ()))
                    port.on_close(connections.close)
                yield port
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

    def protocol(self) -> asyncio.Protocol:
        """Return what serves one connection, made as uvicorn makes it for its own listeners."""
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
