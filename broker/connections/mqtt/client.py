"""A connection to an MQTT 5 server: how it is made, what comes and goes on it, why it is gone."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.connections.mqtt.messages import Message
from broker.connections.mqtt.spec import MqttAccess
from broker.connections.mqtt.unanswered import Unanswered
from broker.connections.mqtt.wire import message_of, properties, shaken, size, unreadable_of
from broker.manifest.specs import revealed

_log: Final = logging.getLogger("cemesh.mqtt")
_silent: Final = logging.getLogger("cemesh.mqtt.client")
_silent.setLevel(logging.CRITICAL)  # what aiomqtt warns of is told by `said` and `Connection`

ANSWERS_WITHIN: Final = 4.0
"""Seconds for connecting, and for each answer of the server to that."""

_CLOSES_WITHIN: Final = 2.0
_ASKS_EVERY: Final = 10
"""Seconds without a word after which a client asks whether the server is there, and waits again."""

_UNANSWERED: Final = 1_000
"""Messages that may be on their way, where the server does not want fewer."""

_LARGEST: Final = 268_435_455
_UNACKNOWLEDGED: Final = 1_000
"""Messages of QoS 0 that may wait here: they come as fast as the server sends them."""


class Connection(aiomqtt.Client):
    """One connection, of which the server's answers are told, and which acknowledges when told to.

    It reaches into aiomqtt, and through it into paho: aiomqtt hands on neither paho's manual
    acknowledgements nor the reason codes of PUBACK, and of a connection that could not be made it
    leaves the socket open. ``session_present`` is whether the server knew the client's session,
    ``largest`` how many bytes a packet to it may have.
    """

    def __init__(
        self,
        access: MqttAccess,
        *,
        tls: ssl.SSLContext | None,
        identifier: str,
        kept_for: timedelta = timedelta(0),
        at_most: int | None = None,
    ) -> None:
        asked = properties(PacketTypes.CONNECT)
        asked.SessionExpiryInterval = kept_for // timedelta(seconds=1)
        if at_most is not None:
            asked.ReceiveMaximum = at_most
        super().__init__(
            access.host,
            access.port,
            username=revealed(access.user),
            password=revealed(access.password),
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=not kept_for,
            properties=asked,
            tls_context=tls,
            timeout=ANSWERS_WITHIN,
            keepalive=_ASKS_EVERY,
            max_inflight_messages=0,
            logger=_silent,
        )
        self._client.manual_ack_set(on=True)
        self._client.connect_timeout = ANSWERS_WITHIN
        self._client._ssl_wrap_socket = (  # type: ignore[method-assign] # see `shaken`
            lambda tcp_sock: shaken(tcp_sock, tls, access.host, within=ANSWERS_WITHIN)
        )
        self._as_paho_has_it = self._client._handle_publish
        self._client._handle_publish = (  # type: ignore[method-assign] # see there
            self._handle_publish
        )
        self.session_present = False
        self.largest = _LARGEST
        self._acknowledges = True
        self._inbox: list[Message] = []
        self._changed = asyncio.Event()
        self._unanswered = Unanswered(_UNANSWERED)
        self._dropped = 0
        self._disconnected.add_done_callback(self._gone)

    # --- the connection --------------------------------------------------------------------

    async def open(self) -> None:
        """Return once the server has let us in. Raises what `said` says."""
        connecting = asyncio.ensure_future(asyncio.to_thread(self._client_connect))
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and leaves a socket, which is closed after it.
            await asyncio.wait([connecting])
            with suppress(OSError):
                connecting.result()
            raise
        answers = (self._connected, self._disconnected)
        await asyncio.wait(answers, timeout=ANSWERS_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if self.is_gone:
            raise self.loss()
        if not self._connected.done():
            raise TimeoutError
        self._connected.result()
        if not self._acknowledges:
            raise aiomqtt.MqttError("it takes no messages of QoS 1, and so acknowledges none")

    async def close(self) -> None:
        """Take leave, if the server listens, and close the socket in any case."""
        try:
            if self._client.is_connected() and self._client.disconnect() == 0:
                await asyncio.wait([self._disconnected], timeout=_CLOSES_WITHIN)
        finally:
            self._client._sock_close()
            self._disconnected.cancel()

    @property
    def is_gone(self) -> bool:
        return self._disconnected.done()

    def loss(self) -> Exception:
        """Return why the connection is gone."""
        error = None if self._disconnected.cancelled() else self._disconnected.exception()
        return error if isinstance(error, Exception) else ConnectionResetError()

    def _gone(self, _: object) -> None:
        self._changed.set()
        self._unanswered.fail(self.loss())

    def _on_connect(
        self,
        client: PahoClient,
        userdata: Any,  # noqa: ANN401 - as aiomqtt has it
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.session_present = flags.session_present
        self.largest = getattr(properties, "MaximumPacketSize", _LARGEST)
        self._acknowledges = getattr(properties, "MaximumQoS", 1) > 0
        most = getattr(properties, "ReceiveMaximum", _UNANSWERED)
        self._unanswered = Unanswered(min(most, _UNANSWERED))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: Any,  # noqa: ANN401 - as aiomqtt has it
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done() and not self.is_gone:
            # aiomqtt would wait for an answer that cannot come any more.
            self._disconnected.set_exception(ConnectionResetError())
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    # --- what comes ------------------------------------------------------------------------

    async def subscribed(self, topics: Sequence[str], *, retained: int) -> Sequence[ReasonCode]:
        """Subscribe with QoS 1, and return what the server answers to each. Raises as `received`.

        ``retained`` is the Retain Handling (MQTT 5, section 3.8.3.1).
        """
        options = SubscribeOptions(qos=1, retainHandling=retained)
        # aiomqtt's own timeout loses a cancellation that comes together with the answer, as
        # `asyncio.wait_for` does on Python 3.11.
        async with asyncio.timeout(ANSWERS_WITHIN):
            answers = await self.subscribe([(each, options) for each in topics], timeout=math.inf)
        return [each for each in answers if isinstance(each, ReasonCode)]

    async def unsubscribed(self, topics: Sequence[str]) -> None:
        """Return once the session has no such subscriptions. Raises as `received`."""
        async with asyncio.timeout(ANSWERS_WITHIN):  # as above
            await self.unsubscribe([*topics], timeout=math.inf)

    async def received(self) -> Sequence[Message]:
        """Return the messages that have come, once there is one. Raises what `said` says."""
        while self.is_gone or not self._inbox:
            if self.is_gone:
                # What came and was not acknowledged comes again, on the next connection.
                raise self.loss()
            self._changed.clear()
            await self._changed.wait()
        found, self._inbox = self._inbox, []
        if self._dropped:
            _log.warning("messages of QoS 0 dropped", extra={"count": self._dropped})
            self._dropped = 0
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACK for these; nothing where the connection is gone: then they come again."""
        for each in messages:
            if each.qos:
                self._client.ack(each.number, each.qos)

    def _on_message(self, client: PahoClient, userdata: Any, message: MQTTMessage) -> None:  # noqa: ANN401 - as aiomqtt has it
        # Those of QoS 1 are bounded by the Receive Maximum. Of QoS 0 nothing was promised.
        if message.qos == 0 and len(self._inbox) >= _UNACKNOWLEDGED:
            self._dropped += 1
            return
        self._take(message_of(message))

    def _handle_publish(self) -> MQTTErrorCode:
        try:
            return self._as_paho_has_it()
        except MalformedPacket as error:
            # paho would end the connection, and get the message again, and so on: it refuses
            # texts that MQTT allows, as U+FEFF.
            packet = self._client._in_packet
            content = bytes(packet["packet"])
            self._take(unreadable_of(packet["command"], content, str(error)))
            return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take(self, message: Message) -> None:
        self._inbox.append(message)
        self._changed.set()

    # --- what goes -------------------------------------------------------------------------

    async def publish_confirmed(self, topic: str, message: Message) -> ReasonCode:
        """Return what the server answers to a message of QoS 1, which it has then.

        Raises what `said` says, and `ValueError` where it is larger than the server takes.
        """
        told = properties(PacketTypes.PUBLISH)
        if message.content_type is not None:
            told.ContentType = message.content_type
        if message.user_properties:
            told.UserProperty = list(message.user_properties)
        length = size(told) + len(topic.encode()) + len(message.payload) + 9
        if length > self.largest:
            raise ValueError(f"it is {length} bytes, and the server takes {self.largest} at most")
        await self._unanswered.turn()
        info = self._client.publish(topic, message.payload, 1, message.retained, told)
        if info.rc:
            self._unanswered.give_back()
            raise aiomqtt.MqttCodeError(info.rc)
        return await self._unanswered.answer_to(info.mid)

    def _on_publish(
        self,
        client: PahoClient,
        userdata: Any,  # noqa: ANN401 - as aiomqtt has it
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        self._unanswered.answered(mid, reason_code)
