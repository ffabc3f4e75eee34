"""What a KafkaSource's ``spec`` says beside its sink, in Knative's words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from broker.connections.kafka import KafkaAccess, TopicName


class KafkaSpec(KafkaAccess):
    """Which topics are read, where, from where on, and as which consumer group.

    ``ordering`` is taken as Knative has it, and changes nothing: the source keeps the order of a
    partition in both cases. So is ``consumers``: each process has one.
    """

    topics: Annotated[list[TopicName], Field(min_length=1)]
    consumer_group: Annotated[str, Field(min_length=1, max_length=249)] | None = None
    initial_offset: Literal["earliest", "latest"] = "latest"
    ordering: Literal["ordered", "unordered"] = "ordered"
    consumers: Annotated[int, Field(ge=0)] | None = None

    def group(self, namespace: str, name: str) -> str:
        """Return the consumer group of the source of that name, the same for ever."""
        # A namespace has no dot in it, so that no two sources share one.
        return self.consumer_group or f"cemesh-source.{namespace}.{name}"
