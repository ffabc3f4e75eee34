"""What the parts of a mesh do where they run apart."""

from __future__ import annotations

from broker.errors import InvalidManifest, Problem
from broker.mesh.resources import Resources
from broker.settings import WHOLE, Part
from broker.trigger import Desired


def of_parts(desired: Desired, parts: frozenset[Part]) -> Desired:
    """Return what of it these parts run. All of them have the brokers."""
    return Desired(
        brokers=desired.brokers,
        triggers=desired.triggers if Part.DISPATCHER in parts else {},
        sources=desired.sources if Part.SOURCES in parts else {},
    )


def refuse_unshared(desired: Desired, parts: frozenset[Part], resources: Resources) -> None:
    """Raise `InvalidManifest` where parts run apart and a broker's channel is of one process.

    What the one took in, the other would never deliver.
    """
    if parts == WHOLE:
        return
    problems = [
        Problem(
            file=None,
            line=None,
            subject=f"Broker {broker.key}",
            message=f"its channel '{resources.channel_scheme(broker)}' is of one process alone: "
            "run everything in one with `cemesh run`, or choose a channel that processes share "
            "(--channel kafka://HOST:PORT or amqp://HOST:PORT, or the class Kafka or "
            "RabbitMQBroker)",
        )
        for broker in desired.brokers.values()
        if not resources.is_shared(broker)
    ]
    if problems:
        raise InvalidManifest(problems)
