"""The shape of a RabbitmqBrokerConfig, as Knative's broker for RabbitMQ has it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from broker.manifest.shapes import KubernetesObject, Name, Namespace, Shape


class ConnectionSecret(Shape):
    name: Name


class ClusterReference(Shape):
    """A cluster of RabbitMQ's own operator, or a Secret that tells of any other server."""

    name: Name | None = None
    namespace: Namespace | None = None
    connection_secret: ConnectionSecret | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.name is None) == (self.connection_secret is None):
            raise ValueError("takes either 'name' or 'connectionSecret'")
        return self


class RabbitmqBrokerConfigSpec(Shape):
    rabbitmq_cluster_reference: ClusterReference | None = None
    queue_type: Literal["quorum", "classic"] | None = None
    vhost: str | None = None


class RabbitmqBrokerConfigObject(KubernetesObject):
    spec: RabbitmqBrokerConfigSpec = RabbitmqBrokerConfigSpec()
