"""Finds the files of a manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from broker.errors import Problem

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


def manifest_files(paths: Sequence[Path]) -> Iterator[Path | Problem]:
    """Yield the files that ``paths`` name, each once, in order, and what cannot be found.

    A folder stands for the ``*.yaml``, ``*.yml`` and ``*.json`` in it and in the folders
    below it, sorted by name. Hidden files and folders are skipped, which leaves out the
    bookkeeping of Kubernetes' ConfigMap volumes and of editors.
    """
    if not paths:
        yield Problem(file=None, line=None, message="no manifest is given")
    seen: set[str] = set()
    for path in paths:
        found = False
        for each in _below(path, set()):
            found = True
            if isinstance(each, Problem):
                yield each
            elif (real := os.path.realpath(each)) not in seen:
                seen.add(real)
                yield each
        if not found:
            yield Problem(file=path, line=None, message="no *.yaml, *.yml or *.json in this folder")


def read_file(path: Path) -> bytes | Problem:
    """Return the content of a file, or why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return _unreadable(path, error)


def _below(path: Path, above: set[tuple[int, int]]) -> Iterator[Path | Problem]:
    """Yield the files at or below ``path``; ``above`` are the folders that lead to it."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            yield path
            return
        if not stat.S_ISDIR(status.st_mode):
            yield Problem(file=path, line=None, message="neither a regular file nor a folder")
            return
        names = sorted(os.listdir(path))  # noqa: PTH208 - names are wanted, not paths
    except OSError as error:
        yield _unreadable(path, error)
        return
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder that it is in
        return
    for name in names:
        child = path / name
        if not name.startswith(".") and (child.suffix in _SUFFIXES or child.is_dir()):
            yield from _below(child, above | {here})


def _unreadable(path: Path, error: OSError) -> Problem:
    why = "no such file or folder" if isinstance(error, FileNotFoundError) else error.strerror
    return Problem(file=path, line=None, message=f"cannot be read: {why}")
