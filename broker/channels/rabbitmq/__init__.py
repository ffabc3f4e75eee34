"""The RabbitMQ channel: an exchange for each broker, a queue for each trigger, streams beside them.

Read it in this order: ``settings`` (what a broker's configuration says, with ``security`` for its
Secret), ``names`` and ``topology`` (its exchanges and queues); ``link`` (connections of
`broker.connections.rabbitmq` that come back), ``publishing`` (append, confirmed); ``session``,
``intake`` and ``consuming`` (what is consumed, by which channels), ``receiving`` (what a queue
delivers), ``place`` (what of it is in hand), ``cursor``, ``settling`` (what became of it, counted
before it is acked); ``waiting``, ``returned`` and ``deadletters`` (where deliveries go that do not
end here); ``feeding``, ``standing`` and ``filling`` (queues that follow their filters, go, and are
made again); ``ledger`` and ``state`` (what the processes tell each other), ``steward`` (who tells
it to others); ``checkpoints`` and ``alone`` (what sources need); ``dispatching`` and ``channel``.
"""

from broker.channels.rabbitmq.backend import RabbitmqBackend

__all__ = ["RabbitmqBackend"]
