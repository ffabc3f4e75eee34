"""MqttSource: the messages of topics of an MQTT 5 server, by a session that outlives the mesh."""

from __future__ import annotations

from sources.mqtt.source import MqttSource
from sources.mqtt.spec import MqttSpec

__all__ = ["MqttSource", "MqttSpec"]
