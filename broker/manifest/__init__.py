"""Manifests: Knative's YAML, read all or nothing, with everything that is wrong said at once.

Reading order: ``load`` → ``files`` → ``yamltree`` → ``objects`` → ``declared`` →
``reading`` and ``shapes`` → ``brokers``, ``triggers``, ``sources``.
"""

from broker.manifest.load import Loaded, load
from broker.manifest.watch import changes

__all__ = ["Loaded", "changes", "load"]
