"""Where the program posts its events: a port of this source alone, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import math
import secrets
import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

import uvicorn
from starlette.types import Receive, Scope, Send

from broker.codecs.http import decode
from broker.errors import (
    ChannelFull,
    ChannelUnavailable,
    InvalidEvent,
    TooLarge,
    UnsupportedContent,
)
from broker.ports import Emitter, SourceContext

_log: Final = logging.getLogger("cemesh.sources.container")

HOST: Final = "127.0.0.1"

_LONGEST: Final = 1 << 20
"""Bytes of a request, as the data port has it unless told otherwise."""

_AT_ONCE: Final = 64
"""Requests that are read and stored at a time, so that they take 64 MiB at most. Others wait."""

_LINGER: Final = 2
"""Seconds that requests have to be answered when the program has ended."""


class _Gone(Exception):
    """The program has closed the connection within a request."""


class SinkServer(uvicorn.Server):
    """Takes events at ``url``, whose path nobody else can guess, while `serve` runs.

    It answers as the data port does (HTTP Protocol Binding of CloudEvents 1.0.2): 202 once the
    events are durable. Why others were refused is told in the log, and ``context`` is told while
    the broker cannot take any.
    """

    def __init__(self, emitter: Emitter, context: SourceContext) -> None:
        # h11, for httptools loses the body of a request that offers HTTP/2, as Java's client does.
        super().__init__(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http="h11",
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_LINGER,
            )
        )
        self._emitter = emitter
        self._context = context
        self._source = f"{context.kind} {context.namespace}/{context.name}"
        self._free = asyncio.Semaphore(_AT_ONCE)
        self.path = f"/{secrets.token_urlsafe(24)}"
        self._listener = socket.create_server((HOST, 0), backlog=256)
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}{self.path}"

    async def take(self) -> None:
        """Serve until `close` is called."""
        with self._listener:
            await self.serve(sockets=[self._listener])

    def close(self) -> None:
        """Take no more requests. Those under way are answered."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are the mesh's

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not hmac.compare_digest(scope["path"].encode(), self.path.encode()):
            await _problem(send, 404, "events are taken at K_SINK, which is another path")
        elif scope["method"] != "POST":
            await _problem(send, 405, "events are taken by POST", {"allow": "POST"})
        else:
            with contextlib.suppress(_Gone):
                await self._take(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._free:
                events = decode(scope["headers"], await _body(receive))
                await self._emitter.at_once(events)
        except InvalidEvent as error:
            status = 413 if isinstance(error, TooLarge) else 400
            self._refused(error)
            await _problem(send, status, str(error), attribute=error.attribute, index=error.index)
        except UnsupportedContent as error:
            self._refused(error)
            await _problem(send, 415, str(error))
        except (ChannelFull, ChannelUnavailable) as error:
            status = 429 if isinstance(error, ChannelFull) else 503
            self._context.unhealthy(str(error))
            seconds = max(1, math.ceil(error.retry_after.total_seconds()))
            await _problem(send, status, str(error), {"retry-after": str(seconds)})
        except _Gone:
            raise
        except Exception:  # noqa: BLE001 - the program is told, and the log
            _log.exception("event not taken", extra={"source": self._source})
            await _problem(send, 500)
        else:
            self._context.healthy()
            await _respond(send, 202, {}, b"")

    def _refused(self, error: InvalidEvent | UnsupportedContent) -> None:
        _log.warning("event refused", extra={"source": self._source, "why": str(error)})


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > _LONGEST:
            raise TooLarge(f"the body is larger than the {_LONGEST} bytes allowed")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _problem(
    send: Send,
    status: int,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    attribute: str | None = None,
    index: int | None = None,
) -> None:
    """Answer by a problem document (RFC 9457) of what is not None."""
    members = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "attribute": attribute,
        "index": index,
    }
    document = {name: value for name, value in members.items() if value is not None}
    named = {"content-type": "application/problem+json", **(headers or {})}
    await _respond(send, status, named, json.dumps(document).encode())


async def _respond(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    fields = {**headers, "content-length": str(len(body))}
    encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
