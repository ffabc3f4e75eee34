"""RabbitMQ: URLs, connections that tell why there are none, and who is let in."""
