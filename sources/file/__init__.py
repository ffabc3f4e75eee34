"""FileSource: the lines of files that grow, through every rotation."""

from __future__ import annotations

from sources.file.source import FileSource
from sources.file.spec import FileSpec

__all__ = ["FileSource", "FileSpec"]
