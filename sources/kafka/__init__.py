"""KafkaSource: the records of topics, shared with all members of a consumer group."""

from __future__ import annotations

from sources.kafka.source import KafkaSource
from sources.kafka.spec import KafkaSpec

__all__ = ["KafkaSource", "KafkaSpec"]
