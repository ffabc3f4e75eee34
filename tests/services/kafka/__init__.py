"""A real Apache Kafka for the tests and for playing: `python -m tests.services.kafka`."""
