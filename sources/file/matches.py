"""Which files a pattern matches now."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from sources.file.spec import COMPRESSED


@dataclass(frozen=True, slots=True)
class Match:
    """A file that the pattern matches, by one name or, over links, several."""

    status: os.stat_result
    paths: list[str]


def matches(pattern: str) -> tuple[Sequence[Match], list[str]]:
    """Return the files, the oldest first, and what is wrong with others."""
    found: dict[tuple[int, int], Match] = {}
    troubles = []
    for path in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - it may be absolute
        if path.endswith(COMPRESSED):
            continue
        try:
            status = os.stat(path)  # noqa: PTH116 - of strings, thousands of times a second
        except FileNotFoundError:
            continue
        except OSError as error:
            troubles.append(unreadable(path, error))
            continue
        if stat.S_ISREG(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            found.setdefault(identity, Match(status, [])).paths.append(path)
        elif path == pattern:
            troubles.append(f"{path} is not a file that lines can be read from")
    return sorted(found.values(), key=_age), troubles


def unreadable(path: str, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror}"


def _age(match: Match) -> tuple[int, list[str]]:
    return match.status.st_mtime_ns, match.paths
