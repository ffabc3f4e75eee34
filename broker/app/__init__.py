"""``cemesh run`` put together: manifests, the mesh, the two ports, signals, and the way out."""

from broker.app.run import run

__all__ = ["run"]
