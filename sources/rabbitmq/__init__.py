"""RabbitmqSource: the messages of a queue of RabbitMQ."""

from __future__ import annotations

from sources.rabbitmq.source import RabbitmqSource
from sources.rabbitmq.spec import RabbitmqSpec

__all__ = ["RabbitmqSource", "RabbitmqSpec"]
