"""The live stream of a broker's events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.cesql import CesqlSyntaxError, Expression, parse
from broker.codecs.json import encode_event
from broker.event import Event
from broker.ports import Archive

MEDIA_TYPE: Final = "application/x-ndjson"


class Tail(Response):
    """Every event as it is stored, in the structured JSON format, one a line.

    Where there is a filter, ``wanted``, only those that pass it.
    The answer begins once the channel is being followed, so that whoever sees its head
    misses nothing sent after. It ends when the client leaves or ``closing`` is set: the
    server would otherwise wait for it for ever.
    """

    def __init__(
        self, channel: Archive, closing: asyncio.Event, wanted: Expression | None = None
    ) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._channel = channel
        self._closing = closing
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._channel.tail() as events:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with asyncio.TaskGroup() as group:
                ways_to_end = {
                    group.create_task(_stream(events, self._wanted, send)),
                    group.create_task(_gone(receive)),
                    group.create_task(_set(self._closing)),
                }
                await asyncio.wait(ways_to_end, return_when=asyncio.FIRST_COMPLETED)
                for task in ways_to_end:
                    task.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def filter_in(request: Request) -> Expression | None:
    """Return the CESQL expression that the query gives as ``filter``, None where it gives none."""
    text = request.query_params.get("filter", "")
    if not text.strip():
        return None
    try:
        return parse(text)
    except CesqlSyntaxError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"'filter': {error}") from None


async def _stream(events: AsyncIterator[Event], wanted: Expression | None, send: Send) -> None:
    async for event in events:
        if wanted is not None and not wanted.matches(event):
            continue
        # Inside its strings JSON has no line breaks, so these are white space of the payload.
        line = encode_event(event).replace(b"\n", b" ").replace(b"\r", b" ")
        await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()
