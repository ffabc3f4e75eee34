"""The Kafka channel: a topic for each broker, and beside it what the mesh remembers of it.

Read it in this order: ``settings`` (what a broker's ConfigMap says, with ``security`` for its
Secret) and ``layout`` (its topics); ``producing`` (append); ``membership`` and ``holding`` (which
partitions this process has), ``reader`` and ``sweeping`` (each record once), ``partition`` and
``place`` (a trigger's way through them), ``cursor``; ``delays`` and ``deadletters`` (where
deliveries go that do not end here); ``state`` (where everything stands); ``channel``.
"""

from broker.channels.kafka.backend import KafkaBackend

__all__ = ["KafkaBackend"]
