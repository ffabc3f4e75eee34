"""What a RabbitmqSink's ``spec`` says."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from broker.connections.rabbitmq.spec import Name, RabbitmqAccess
from broker.connections.templates import checked_template


class RabbitmqSinkSpec(RabbitmqAccess):
    """Where messages go, and how. ``routing_key`` may have attributes in it, in braces.

    Without ``exchange`` they go to the queue that the routing key names.
    """

    exchange: Name | None = None
    routing_key: Annotated[str, AfterValidator(checked_template)] = ""
    content_mode: Literal["binary", "structured"] = "binary"

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if self.exchange is None and not self.routing_key:
            raise ValueError("say 'exchange', or by 'routingKey' the name of a queue, or both")
        return self
