"""RabbitmqSink: a message of RabbitMQ for each event, confirmed."""

from __future__ import annotations

from sinks.rabbitmq.sink import RabbitmqSink
from sinks.rabbitmq.spec import RabbitmqSinkSpec

__all__ = ["RabbitmqSink", "RabbitmqSinkSpec"]
