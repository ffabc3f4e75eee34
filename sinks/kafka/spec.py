"""What a KafkaSink's ``spec`` says, in Knative's words, and in KafkaSource's beside."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from broker.connections.kafka import BY_NET, BY_SECRET, KafkaAccess, Net, Told, TopicName
from sinks.kafka.auth import NetOfSecret


class KafkaSinkSpec(KafkaAccess):
    """Which topic the records go to, where, and how.

    The topic is made where there is none and ``num_partitions`` and ``replication_factor`` say
    how. ``auth`` is a whole Secret, as Knative has it; ``net`` names each value.
    """

    topic: TopicName
    num_partitions: Annotated[int, Field(ge=1)] | None = None
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] | None = None
    content_mode: Literal["binary", "structured"] = "structured"
    auth: NetOfSecret | None = None

    @property
    def access(self) -> Net:
        return self.net if self.auth is None else self.auth

    @property
    def told(self) -> Told:
        return BY_NET if self.auth is None else BY_SECRET

    @property
    def kafka(self) -> str:
        """What operators are told of it."""
        return f"Kafka at {', '.join(self.bootstrap_servers)}"

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if (self.num_partitions is None) != (self.replication_factor is None):
            raise ValueError(
                "'numPartitions' and 'replicationFactor' are of no use without each other"
            )
        if self.auth is not None and self.net != Net():
            raise ValueError("'auth' and 'net' both say who connects; one of them is enough")
        return self
