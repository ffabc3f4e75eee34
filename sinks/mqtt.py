"""MqttSink: a message of an MQTT 5 server for each event."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field

from broker.connections.mqtt import FAULTS, Connection, MqttAccess, connected, content_of, said
from broker.connections.sharing import SharedOpening
from broker.connections.templates import checked_template, filled, literal_text
from broker.event import Event
from broker.ports import Accepted, Answer, Refused, SinkContext

_FORBIDDEN: Final = ("+", "#", "\0")
_LONGEST: Final = 65_535  # bytes of a topic, MQTT 5, section 1.5.4

_FAILED: Final = 0x80
_PERMANENT: Final = frozenset({0x90, 0x95, 0x99})
"""Topic name invalid, packet too large, payload format invalid: so is the same message again."""


def _template(text: str) -> str:
    literal = literal_text(checked_template(text))
    if any(each in literal for each in _FORBIDDEN):
        raise ValueError("has '+', '#' or NUL in it, which no topic of a message has")
    if text.startswith("$"):
        raise ValueError("begins with '$': such topics are the server's own")
    return text


class MqttSinkSpec(MqttAccess):
    """Where messages go, and how. ``topic`` may have attributes in it, in braces."""

    topic: Annotated[str, Field(min_length=1), AfterValidator(_template)]
    content_mode: Literal["binary", "structured"] = "binary"
    retain: bool = False


class MqttSink:
    """Publishes each event with QoS 1; accepted is what the server has acknowledged."""

    Spec: ClassVar = MqttSinkSpec

    def __init__(self, spec: MqttSinkSpec, context: SinkContext) -> None:
        self._spec = spec
        # Several processes have this sink, and of one name a server takes one client only.
        self._identifier = f"cemesh-sink.{context.namespace}.{context.name}.{uuid.uuid4()}"
        self._server = f"MQTT server {spec.address}"
        self._open = AsyncExitStack()
        self._connection: Connection | None = None
        self._connecting = SharedOpening(self._connect)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connecting.close()
        await self._open.aclose()

    async def attempt(self, event: Event) -> Answer:
        """Return once the server has acknowledged the message."""
        structured = self._spec.content_mode == "structured"
        try:
            topic = self._topic(event)
            message = content_of(event, structured=structured, retained=self._spec.retain)
            connection = await self._connected()
            code = await connection.publish_confirmed(topic, message)
        except FAULTS as fault:
            return Refused(reason=f"{self._server}: {said(fault)}")
        except ValueError as fault:
            return Refused(reason=f"{self._server}: {fault}", permanent=True)
        if code.value < _FAILED:
            return Accepted()
        return Refused(
            reason=f"{self._server} refuses it at '{topic}': {code}",
            permanent=code.value in _PERMANENT,
        )

    def _topic(self, event: Event) -> str:
        """Return the topic of the event; raises `ValueError` where it can have none."""

        def value(name: str) -> str | None:
            text = event.attributes.get(name)
            if text is not None and any(each in text for each in _FORBIDDEN):
                raise ValueError(f"the event's '{name}' has '+' or '#' in it, and no topic may")
            return text

        topic = filled(self._spec.topic, value, made="its topic")
        if not topic or topic.startswith("$"):
            raise ValueError(f"the topic would be '{topic[:128]}', which is none of a client's")
        if len(topic.encode()) > _LONGEST:
            raise ValueError(f"the topic would be longer than {_LONGEST} bytes")
        return topic

    async def _connected(self) -> Connection:
        """Return the connection that all attempts share; raises what `said` says."""
        if self._connection is not None and not self._connection.is_gone:
            return self._connection
        return await self._connecting.opened()

    async def _connect(self) -> Connection:
        await self._open.aclose()
        self._connection = await self._open.enter_async_context(
            connected(self._spec, identifier=self._identifier)
        )
        return self._connection
