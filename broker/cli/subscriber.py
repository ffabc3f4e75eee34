"""The subscriber behind ``cemesh display``: prints events and answers as it was told."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal

import click
import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from broker.cli.printing import event_text
from broker.codecs.http import decode
from broker.codecs.json import encode_event
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event

_REMEMBERED: Final = 100_000
"""Events whose attempts are counted at a time; the count of an older one starts again."""


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the JSON output."""

    time: datetime
    path: str
    status: int
    event: msgspec.Raw


@dataclass(slots=True, kw_only=True)
class Subscriber:
    """The application. Paths that ``answers`` and ``delays`` do not name get a 200 at once."""

    answers: Mapping[str, Sequence[int]]
    delays: Mapping[str, float]
    output: Literal["text", "json"]
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _attempts: OrderedDict[tuple[str, str, str], int] = field(default_factory=OrderedDict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={"Allow": "POST, OPTIONS", "WebHook-Allowed-Origin": "*"})
        if request.method != "POST":
            return PlainTextResponse(
                "POST events here\n", HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST, OPTIONS"}
            )
        path = request.url.path
        try:
            events = decode(request.headers.raw, await request.body())
        except (InvalidEvent, UnsupportedContent) as error:
            click.echo(f"{path}: not an event: {error}", err=True)
            return PlainTextResponse(f"{error}\n", HTTPStatus.BAD_REQUEST)
        status = max((self._next_status(path, event) for event in events), default=200)
        for event in events:
            self._print(event, path, status)
        await asyncio.sleep(self.delays.get(path, 0.0))
        return Response(status_code=status)

    def _next_status(self, path: str, event: Event) -> int:
        script = self.answers.get(path, (200,))
        key = (path, event.source, event.id)
        attempt = self._attempts.pop(key, 0)
        self._attempts[key] = attempt + 1
        if len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        return script[min(attempt, len(script) - 1)]

    def _print(self, event: Event, path: str, status: int) -> None:
        now = datetime.now().astimezone()
        try:
            if self.output == "json":
                raw = msgspec.Raw(encode_event(event))
                shown = _Shown(time=now, path=path, status=status, event=raw)
                click.echo(msgspec.json.encode(shown).replace(b"\n", b" ").replace(b"\r", b" "))
            else:
                answered = click.style(str(status), fg="green" if status < 300 else "red")
                click.echo(event_text(event, at=now, place=f"{path} {answered}"))
        except BrokenPipeError:
            self.closed.set()  # nobody reads on: there is nothing left to do


def serve(subscriber: Subscriber, host: str, port: int) -> None:
    """Listen until interrupted. Raises `OSError`, `BrokenPipeError` once nobody reads on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        asyncio.run(_serve(subscriber, listener, f"[{host}]" if ":" in host else host))
    if subscriber.closed.is_set():
        raise BrokenPipeError(errno.EPIPE, "nobody reads what is printed")  # click ends quietly


async def _serve(subscriber: Subscriber, listener: socket.socket, host: str) -> None:
    click.echo(f"Listening on http://{host}:{listener.getsockname()[1]}/", err=True)
    config = uvicorn.Config(
        subscriber, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)

    async def stop_when_closed() -> None:
        await subscriber.closed.wait()
        server.should_exit = True

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(stop_when_closed())
        await server.serve(sockets=[listener])
        watching.cancel()
