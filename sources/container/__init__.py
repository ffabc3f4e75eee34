"""ContainerSource: a program that posts events, run on this machine."""

from __future__ import annotations

from sources.container.source import ContainerSource
from sources.container.spec import ContainerSpec

__all__ = ["ContainerSource", "ContainerSpec"]
