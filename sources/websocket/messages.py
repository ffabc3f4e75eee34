"""Messages of a WebSocket: those that have come, and the events that they are or tell of."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final

from broker.codecs.json import decode_event
from broker.codecs.paths import json_of, text_at
from broker.event import Event

TYPE: Final = "dev.cemesh.websocket.message"

Message = str | bytes

_MOST: Final = 500
_MOST_BYTES: Final = 4 << 20
"""What may wait here while others are stored; a message that is larger, alone."""


def event_of(message: Message, uri: str, id_from: str | None, *, structured: bool) -> Event:
    """Return the message's event; ``uri`` is the source's.

    A ``structured`` one is the event that it is in the JSON format. Anything else is told of, with
    the id at ``id_from`` of its JSON, or with one that no other has. Raises `InvalidEvent`.
    """
    data = data_of(message)
    if structured:
        return decode_event(data)
    json = json_of(data)
    content_type = "text/plain" if isinstance(message, str) else "application/octet-stream"
    if isinstance(json, (dict, list)) and isinstance(message, str):
        content_type = "application/json"
    found = None if id_from is None else text_at(json, id_from)
    attributes = {
        "specversion": "1.0",
        "id": found or str(uuid.uuid4()),
        "source": uri,
        "type": TYPE,
        "datacontenttype": content_type,
    }
    return Event.checked(attributes, data)


def data_of(message: Message) -> bytes:
    return message.encode() if isinstance(message, str) else message


class Inbox:
    """Messages that have come and were not taken yet, in their order, and not too many."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._size = 0
        self._closed = False
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, message: Message) -> None:
        """Return once there was room for it, which nobody else may take meanwhile."""
        await self._room.wait()
        self._messages.append(message)
        self._size += len(message)
        self._some.set()
        if len(self._messages) >= _MOST or self._size >= _MOST_BYTES:
            self._room.clear()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed = True
        self._some.set()

    async def taken(self) -> Sequence[Message]:
        """Return all that there are, once there is one; none when nothing more comes."""
        await self._some.wait()
        found, self._messages, self._size = self._messages, [], 0
        if not self._closed:
            self._some.clear()
        self._room.set()
        return found
