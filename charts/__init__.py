"""The Helm chart of the mesh."""
