"""MQTT 5, as the source and the sink share it: where, who, connections, and the binding."""

from __future__ import annotations

from broker.connections.mqtt.client import Connection
from broker.connections.mqtt.connecting import connected
from broker.connections.mqtt.faults import FAULTS, said
from broker.connections.mqtt.messages import Message, content_of, event_of
from broker.connections.mqtt.spec import MqttAccess

__all__ = [
    "FAULTS",
    "Connection",
    "Message",
    "MqttAccess",
    "connected",
    "content_of",
    "event_of",
    "said",
]
