"""Listens to a WebSocket server, and emits what it sends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import ClassVar, Final

from websockets.asyncio.client import ClientConnection

from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, SourceContext
from broker.urls import without_credentials
from sources.websocket.connecting import FAULTS, connected, received, said
from sources.websocket.messages import Inbox, Message, data_of, event_of
from sources.websocket.spec import WebSocketSpec

_CLOUDEVENTS: Final = "cloudevents.json"


class WebSocketSource:
    """Emits each message that comes while it is connected: at most once, as WebSocket has it.

    What has come is emitted, however long the store is away; meanwhile nothing more is read, and
    the server has to wait.
    """

    Spec: ClassVar = WebSocketSpec
    alone: ClassVar = True

    def __init__(self, spec: WebSocketSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._server = f"WebSocket server {without_credentials(spec.url)}"

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where the server is away."""
        try:
            async with connected(self._spec) as connection:
                self._context.healthy()
                await self._listen(connection, emit)
        except FAULTS as error:
            why = said(error, self._spec)
            raise UpstreamUnavailable(f"{self._server}: {why}") from error

    async def _listen(self, connection: ClientConnection, emit: Emitter) -> None:
        structured = connection.subprotocol == _CLOUDEVENTS
        inbox = Inbox()
        reading = asyncio.create_task(self._read(connection, inbox))
        try:
            # What came before the connection was lost is emitted all the same.
            while messages := await inbox.taken():
                await self._pass_on(messages, emit, structured=structured)
            await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, connection: ClientConnection, inbox: Inbox) -> None:
        try:
            while True:
                await inbox.put(await received(connection, silent=self._spec.ping))
        finally:
            inbox.close()

    # --- what has come ---------------------------------------------------------------------

    async def _pass_on(
        self, messages: Sequence[Message], emit: Emitter, *, structured: bool
    ) -> None:
        taken: list[tuple[Message, Event]] = []
        for message in messages:
            try:
                event = event_of(
                    message, self._context.uri, self._spec.id_from, structured=structured
                )
            except InvalidEvent as error:
                await self._reject(message, error)
            else:
                taken.append((message, event))
        await pass_on(taken, emit, self._reject)

    async def _reject(self, message: Message, error: InvalidEvent) -> None:
        why = f"{self._server}: {error}"
        await self._context.reject(why, id=str(uuid.uuid4()), data=data_of(message))
