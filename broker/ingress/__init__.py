"""The data port: events come in by HTTP and are answered for once they are durable."""

from broker.ingress.app import Entrance, ingress

__all__ = ["Entrance", "ingress"]
