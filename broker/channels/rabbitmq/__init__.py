"""The RabbitMQ channel: what a broker's configuration says to it, and what its queues hold."""
