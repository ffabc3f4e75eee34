"""The data port: events come in by HTTP and are answered for once they are durable."""

from broker.ingress.app import ingress
from broker.ingress.door import Door, Entrance, Find

__all__ = ["Door", "Entrance", "Find", "ingress"]
