"""Finds the files of a manifest, and the files of tests beside them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from broker.errors import Problem

TEST_DATA: Final = "testdata"
"""What a folder is called whose files are there for tests."""

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
# Whether tests are looked for → what to say where something else, or nothing, is found.
_OTHERS: Final = {
    False: "holds tests, by its name, and no manifest: `cemesh test` runs it",
    True: "holds no tests, by its name, which has to end with _test.yaml, _test.yml or _test.json",
}
_NONE: Final = {
    False: "no *.yaml, *.yml or *.json in this folder",
    True: "no *_test.yaml, *_test.yml or *_test.json in this folder",
}


def manifest_files(paths: Sequence[Path]) -> Iterator[Path | Problem]:
    """Yield the files that ``paths`` name, each once, in order, and what cannot be found.

    A folder stands for the ``*.yaml``, ``*.yml`` and ``*.json`` in it and in the folders
    below it, sorted by name. Hidden files and folders are skipped, which leaves out the
    bookkeeping of Kubernetes' ConfigMap volumes and of editors. Skipped as well are files of
    tests, of which one that is named itself is a problem, and folders ``testdata``.
    """
    if not paths:
        yield Problem(file=None, line=None, message="no manifest is given")
    yield from _files(paths, of_tests=False)


def files_of_tests(paths: Sequence[Path]) -> Iterator[Path | Problem]:
    """Yield the files of tests, ``*_test.yaml`` and the like, that ``paths`` name, likewise."""
    yield from _files(paths, of_tests=True)


def holds_tests(path: Path) -> bool:
    """Return whether a file of this name holds tests of manifests, and no manifest."""
    return path.suffix in _SUFFIXES and path.stem.endswith("_test")


def read_file(path: Path) -> bytes | Problem:
    """Return the content of a file, or why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return _unreadable(path, error)


def _files(paths: Sequence[Path], *, of_tests: bool) -> Iterator[Path | Problem]:
    seen: set[str] = set()
    for path in paths:
        found = False
        for each in _below(path, set(), of_tests=of_tests):
            found = True
            if isinstance(each, Problem):
                yield each
            elif holds_tests(each) is not of_tests:
                yield Problem(file=each, line=None, message=_OTHERS[of_tests])
            elif (real := os.path.realpath(each)) not in seen:
                seen.add(real)
                yield each
        if not found:
            yield Problem(file=path, line=None, message=_NONE[of_tests])


def _below(path: Path, above: set[tuple[int, int]], *, of_tests: bool) -> Iterator[Path | Problem]:
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
        if name.startswith(".") or name == TEST_DATA:
            continue
        by_name = child.suffix in _SUFFIXES and holds_tests(child) is of_tests
        if by_name or child.is_dir():
            yield from _below(child, above | {here}, of_tests=of_tests)


def _unreadable(path: Path, error: OSError) -> Problem:
    why = "no such file or folder" if isinstance(error, FileNotFoundError) else error.strerror
    return Problem(file=path, line=None, message=f"cannot be read: {why}")
