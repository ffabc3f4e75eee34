"""DirectorySource: an event for each file that is put into a folder."""

from __future__ import annotations

from sources.directory.source import DirectorySource
from sources.directory.spec import DirectorySpec

__all__ = ["DirectorySource", "DirectorySpec"]
