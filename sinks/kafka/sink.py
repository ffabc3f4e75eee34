"""Stores events as records of a topic of Kafka."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Self

from broker.codecs.kafka import encode
from broker.event import Event
from broker.ports import Answer
from sinks.kafka.producing import Producing
from sinks.kafka.spec import KafkaSinkSpec


class KafkaSink:
    """Adds a record to a topic for each event; accepted is what all replicas in sync have.

    Its key is the attribute ``partitionkey``: events that share one share a partition.
    """

    Spec: ClassVar = KafkaSinkSpec
    api_versions: ClassVar = ("eventing.knative.dev/v1alpha1",)

    def __init__(self, spec: KafkaSinkSpec) -> None:
        self._is_structured = spec.content_mode == "structured"
        self._producing = Producing(spec)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._producing.close()

    async def attempt(self, event: Event) -> Answer:
        """Return once Kafka has acknowledged the record."""
        return await self._producing.store(encode(event, structured=self._is_structured))
