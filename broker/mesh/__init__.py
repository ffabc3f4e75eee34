"""The mesh: what the manifests ask for, running."""

from broker.mesh.mesh import Mesh

__all__ = ["Mesh"]
