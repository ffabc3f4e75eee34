"""For the tests of those who use cemesh, or write plug-ins for it.

`running` runs a source as it runs in a mesh, `mesh` a whole mesh in which every trigger delivers to
a recorder. Nothing is durable but in memory, nothing listens anywhere, and nothing is sent out.
Works with any test framework that runs coroutines.
"""

from cemesh.testing.meshes import RunningMesh, mesh
from cemesh.testing.sources import RunningSource, running

__all__ = ["RunningMesh", "RunningSource", "mesh", "running"]
