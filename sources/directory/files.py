"""Which files are in a folder now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from sources.directory.spec import UNFINISHED, DirectorySpec, absolute

Key = tuple[int, bytes]
"""When a file came or was changed, in nanoseconds, and eight bytes that stand for what it is.

That is its ctime. Unlike the mtime it cannot be set, and a file that is moved into the folder gets
one of that moment.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as it was met; changed, it is another one. ``name`` is its path in the folder."""

    path: str
    name: str
    size: int
    mtime_ns: int
    key: Key

    @classmethod
    def met(cls, path: str, name: str, status: os.stat_result) -> File:
        written = f"{path}\0{status.st_mtime_ns}\0{status.st_size}"
        digest = blake2b(os.fsencode(written), digest_size=8).digest()
        return cls(
            path=path,
            name=name,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            key=(status.st_ctime_ns, digest),
        )

    @property
    def id(self) -> str:
        """The same as long as nobody changes the file. No inode: some mounts make those up."""
        name = quote(os.fsencode(self.name))
        return f"{name}@{self.key[0]:x}.{self.mtime_ns:x}.{self.size}"

    def is_still(self, status: os.stat_result) -> bool:
        return self == File.met(self.path, self.name, status)


def files(spec: DirectorySpec, troubles: list[str]) -> Iterator[File]:
    """Yield the files that the pattern matches, and add to ``troubles`` what cannot be read.

    Links are left alone: they would lead out of the folder, and what they lead to did not come
    when they did. Raises `OSError` where the folder itself cannot be read.
    """
    root = absolute(spec.path)
    left_out = None if spec.move_to is None else absolute(spec.move_to)
    within = [""]
    while within:
        folder = within.pop()
        try:
            entries = os.scandir(f"{root}/{folder}")
        except OSError as error:
            if not folder:
                raise
            _note(f"{root}/{folder}", error, troubles)
            continue
        with entries:
            for entry in entries:
                path, name = f"{root}/{folder}{entry.name}", f"{folder}{entry.name}"
                try:
                    if _is_meant(entry, spec.pattern):
                        yield File.met(path, name, entry.stat(follow_symlinks=False))
                    elif spec.recursive and path != left_out and _is_folder(entry):
                        within.append(f"{name}/")
                except OSError as error:
                    _note(path, error, troubles)


def _is_meant(entry: os.DirEntry[str], pattern: str) -> bool:
    return (
        not entry.name.startswith(".")
        and not entry.name.endswith(UNFINISHED)
        and fnmatchcase(entry.name, pattern)
        and entry.is_file(follow_symlinks=False)
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)


def _note(path: str, error: OSError, troubles: list[str]) -> None:
    if not isinstance(error, FileNotFoundError):  # it went as it was met
        troubles.append(unreadable(path, error))


def unreadable(path: str, error: OSError) -> str:
    return f"{shown(path)} cannot be read: {error.strerror}"


def shown(path: str | Path) -> str:
    """Return the path as text, whatever bytes it is made of."""
    return os.fsencode(path).decode(errors="backslashreplace")
