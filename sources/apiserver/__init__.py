"""ApiServerSource: what becomes of the objects of a Kubernetes cluster.

Reading order: ``spec`` → ``objects`` → ``places`` → ``following`` → ``source``.
"""

from __future__ import annotations

from sources.apiserver.source import ApiServerSource
from sources.apiserver.spec import ApiServerSpec

__all__ = ["ApiServerSource", "ApiServerSpec"]
