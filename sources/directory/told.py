"""Which files have been told, in a bounded place."""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections.abc import Collection
from hashlib import blake2b
from typing import Final, cast

from broker.ports import Json
from sources.directory.files import Key
from sources.directory.spec import DirectorySpec, absolute

_KEY: Final = struct.Struct(">q8s")

_MOST: Final = 3_000
"""Files that a place names one by one: 64,000 characters of base64, in a checkpoint of 64 KiB."""

_SEEN_WITHIN_NS: Final = 120 * 10**9
"""How long a file may be there before it is seen: network mounts show what was for a minute."""


class Told:
    """The files that have been told, as far as they are still there.

    All of them are known while the source runs. Between runs they are known one by one as long as
    they are few enough: then no clock matters. Of more, those that came up to a certain time, the
    ``mark``, are taken for told: one is chosen that lies before everything that is not.
    Where that is impossible some are forgotten, and come again: that loses none.
    """

    def __init__(self, spec: DirectorySpec) -> None:
        asked = (absolute(spec.path), spec.pattern, spec.recursive)
        self._asked = blake2b(repr(asked).encode(), digest_size=8).hexdigest()
        self._keys: set[Key] = set()
        self._mark: Key | None = None
        """The one that was restored, until it is known which files are there."""
        self._marked = ""

    def restore(self, place: Json) -> None:
        """Take up what `place` returned in an earlier run."""
        saved = cast("dict[str, str]", place)
        self._keys = _read(saved["told"])
        # Under another path, or another pattern, there may be files before it that were not told.
        if saved["asked"] == self._asked and saved["mark"]:
            [self._mark] = _read(saved["mark"])

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, key: Key) -> None:
        self._keys.add(key)

    def forget(self, key: Key) -> None:
        self._keys.discard(key)

    def are_there(self, keys: Collection[Key], *, all: bool) -> None:
        """Take note of files of the folder, told or not, and whether they are all there are."""
        if not keys:
            return  # as in a folder that something is yet to be mounted on
        if self._mark is not None:
            mark, self._mark = self._mark, None
            self._keys.update(key for key in keys if key <= mark)
        if all and len(self._keys) > _MOST:
            self._keys.intersection_update(keys)

    def forget_all_but(self, keys: Collection[Key]) -> None:
        self._keys.intersection_update(keys)

    def place(self, untold: Collection[Key], seen_ns: int | None) -> Json:
        """Return what is to be saved, where ``untold`` are there and have not been told.

        ``seen_ns`` is the time when it was found out what is there, None where that was not to be
        found out.
        """
        known = sorted(self._keys)
        older, named = known[:-_MOST], known[-_MOST:]
        if self._mark is not None:
            self._marked = _written([self._mark])
        elif seen_ns is not None:
            before = min([(seen_ns - _SEEN_WITHIN_NS, b""), *untold])
            self._marked = _written(older[: bisect_left(older, before)][-1:])
        return {"asked": self._asked, "told": _written(named), "mark": self._marked}


def _written(keys: Collection[Key]) -> str:
    return b64encode(b"".join(_KEY.pack(*key) for key in keys)).decode()


def _read(text: str) -> set[Key]:
    return set(_KEY.iter_unpack(b64decode(text)))
