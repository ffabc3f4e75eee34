"""Reads topics in a session of an MQTT server, and emits what they have."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import ClassVar, Final

from broker.connections.mqtt import FAULTS, Connection, Message, connected, event_of, said
from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, Json, SourceContext
from sources.mqtt.spec import MqttSpec

_log: Final = logging.getLogger("cemesh.sources.mqtt")

_RETAIN_HANDLING: Final = {"always": 0, "new": 1, "never": 2}  # MQTT 5, section 3.8.3.1


class MqttSource:
    """Emits the messages of its topics, and acknowledges each once its event is durable.

    The server keeps them meanwhile, in a session that outlives connections and processes: what
    was not acknowledged comes again.
    """

    Spec: ClassVar = MqttSpec
    alone: ClassVar = True  # of two with the same client identifier, a server sends one away

    def __init__(self, spec: MqttSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._server = f"MQTT server {spec.address}"

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where the server is away."""
        before = await self._context.load()
        try:
            async with connected(
                self._spec,
                identifier=self._spec.client(self._context.namespace, self._context.name),
                kept_for=self._spec.session_expiry,
                at_most=self._spec.receive_maximum,
            ) as connection:
                await self._subscribe(connection, before)
                self._context.healthy()
                while True:
                    # Of what else waits there, MQTT does not tell.
                    self._context.lag(0)
                    messages = await connection.received()
                    self._context.lag(len(messages))
                    await self._pass_on(messages, emit)
                    connection.acknowledge(messages)
        except FAULTS as error:
            raise UpstreamUnavailable(f"{self._server}: {said(error)}") from error

    async def _subscribe(self, connection: Connection, before: list[Json] | None) -> None:
        """Have the session subscribe to what the spec says, and to nothing that it said before.

        Which topics a session has cannot be asked, so that they are remembered here.
        """
        topics, former = self._spec.topics, [str(each) for each in before or []]
        if former and not connection.session_present:
            _log.warning(
                "session lost",
                extra={
                    "why": f"{self._server} knows it no more; what came meanwhile is lost",
                },
            )
        given_up = [each for each in former if each not in topics]
        if set(topics) - set(former):
            await self._context.save([*given_up, *topics])
        retained = _RETAIN_HANDLING[self._spec.retained]
        answers = await connection.subscribed(topics, retained=retained)
        for topic, answer in zip(topics, answers, strict=True):
            if answer.value != 1:
                told = "no QoS 1" if answer.value == 0 else str(answer)
                raise UpstreamUnavailable(
                    f"{self._server} refuses the subscription to '{topic}': {told}"
                )
        if given_up:
            await connection.unsubscribed(given_up)
            await self._context.save([*topics])

    async def _pass_on(self, messages: Sequence[Message], emit: Emitter) -> None:
        events: list[tuple[Message, Event]] = []
        for message in messages:
            try:
                events.append((message, self._event(message)))
            except InvalidEvent as error:
                await self._reject(message, error)
        await pass_on(events, emit, self._reject)

    def _event(self, message: Message) -> Event:
        always = self._spec.format == "cloudevents"
        return event_of(message, self._context.uri, always_cloudevents=always)

    async def _reject(self, message: Message, error: InvalidEvent) -> None:
        why = f"the message of topic {message.topic}: {error}"
        await self._context.reject(why, id=f"{message.topic}/{uuid.uuid4()}", data=message.payload)
