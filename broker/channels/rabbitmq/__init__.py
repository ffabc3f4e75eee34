"""The RabbitMQ channel: what a broker's configuration says to it, and what its queues hold.

Read it in this order: ``settings`` (what a broker's configuration says, with ``security`` for its
Secret and ``address`` for URLs), ``names`` (of exchanges and queues), ``foreign`` (messages that
are no events). Events as messages are in ``broker.codecs.amqp``.
"""
