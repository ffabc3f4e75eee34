"""A real RabbitMQ for the tests and for playing: `python -m tests.services.rabbitmq`."""
