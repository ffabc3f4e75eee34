"""What a RabbitmqSource's ``spec`` says beside its sink: Knative's fields, and the server's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from broker.connections.rabbitmq.address import vhost_fault
from broker.connections.rabbitmq.server import Server
from broker.connections.rabbitmq.spec import Name, RabbitmqAccess
from broker.manifest.shapes import Shape


def _vhost(text: str) -> str:
    fault = vhost_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


class Resources(Shape):
    """The queue, the exchange that it is bound to, and how many messages are in hand at a time.

    What is ``predeclared`` is used as it is, and the exchange not looked at.
    """

    queue_name: Name
    queue_type: Literal["quorum", "classic"] = "quorum"
    exchange_name: Name | None = None
    vhost: Annotated[str, AfterValidator(_vhost)] | None = None
    parallelism: Annotated[int, Field(ge=1, le=1000)] = 100
    predeclared: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.predeclared and self.exchange_name is None:
            raise ValueError(
                "'exchangeName' is missing; or say 'predeclared: true', and the queue is used "
                "as it is"
            )
        return self


class RabbitmqSpec(RabbitmqAccess):
    """Which queue is read, and where."""

    rabbitmq_resources_config: Resources

    @property
    def server(self) -> Server:
        return self.server_at(self.rabbitmq_resources_config.vhost)

    @model_validator(mode="after")
    def _has_one_vhost(self) -> Self:
        vhosts = {self.address.vhost, self.rabbitmq_resources_config.vhost} - {None}
        if len(vhosts) > 1:
            raise ValueError("'url' names another virtual host than 'vhost' does")
        return self
