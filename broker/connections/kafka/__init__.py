"""Kafka, as the source and the sink share it: where, who, and why it cannot be used."""

from __future__ import annotations

from broker.connections.kafka.clients import close_producer, ended
from broker.connections.kafka.connecting import (
    ANSWERS_WITHIN,
    BY_NET,
    BY_SECRET,
    Told,
    client_options,
    said,
    why_unreachable,
)
from broker.connections.kafka.spec import MECHANISMS, KafkaAccess, Net, Sasl, TopicName

__all__ = [
    "ANSWERS_WITHIN",
    "BY_NET",
    "BY_SECRET",
    "MECHANISMS",
    "KafkaAccess",
    "Net",
    "Sasl",
    "Told",
    "TopicName",
    "client_options",
    "close_producer",
    "ended",
    "said",
    "why_unreachable",
]
