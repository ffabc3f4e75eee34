"""What paho does below a connection, where it has no types or leaves something open."""

from __future__ import annotations

import socket
import ssl
import struct

from paho.mqtt.client import MQTTMessage
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.properties import Properties

from broker.connections.mqtt.messages import Message


def message_of(message: MQTTMessage) -> Message:
    told = message.properties
    return Message(
        topic=message.topic,
        payload=bytes(message.payload),
        content_type=getattr(told, "ContentType", None),
        user_properties=tuple(getattr(told, "UserProperty", ())),
        response_topic=getattr(told, "ResponseTopic", None),
        correlation_data=getattr(told, "CorrelationData", None),
        retained=message.retain,
        qos=message.qos,
        number=message.mid,
    )


def unreadable_of(command: int, content: bytes, why: str) -> Message:
    """Return what can be told of a PUBLISH that paho cannot read: all of it is the payload.

    Raises `MalformedPacket` where it has no topic or number (MQTT 5, section 3.3.2).
    """
    qos = (command >> 1) & 3
    try:
        (length,) = struct.unpack_from("!H", content)
        (number,) = struct.unpack_from("!H", content, 2 + length) if qos else (0,)
    except struct.error as error:
        raise MalformedPacket(str(error)) from error
    topic = content[2 : 2 + length].decode(errors="replace")
    flaw = f"it cannot be read: {why}"
    return Message(topic=topic, payload=content, qos=qos, number=number, flaw=flaw)


def shaken(
    raw: socket.socket, tls: ssl.SSLContext | None, host: str, *, within: float
) -> ssl.SSLSocket:
    """Return the socket after TLS's handshake, or close it: paho would leave it open. Blocks."""
    assert tls is not None  # noqa: S101 - paho asks where it was given one
    wrapped = tls.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    try:
        wrapped.settimeout(within)
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def properties(of: int) -> Properties:
    return Properties(of)  # type: ignore[no-untyped-call] # paho has types but here


def size(properties: Properties) -> int:
    return len(properties.pack())  # type: ignore[no-untyped-call] # as above
