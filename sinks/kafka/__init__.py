"""KafkaSink: a record of a topic for each event."""

from __future__ import annotations

from sinks.kafka.sink import KafkaSink
from sinks.kafka.spec import KafkaSinkSpec

__all__ = ["KafkaSink", "KafkaSinkSpec"]
