"""The folder: which files wait in it, and what becomes of those that were told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from broker.errors import InvalidEvent
from broker.event import Event
from broker.ports import Json
from sources.directory.events import Changed, event_of
from sources.directory.files import File, Key, files, shown, unreadable
from sources.directory.spec import DirectorySpec, absolute
from sources.directory.told import Told

_FILES_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A file, the event that it is told by or why there is none, and where it is moved to."""

    file: File
    event: Event | InvalidEvent
    moved_to: str | None


class Folder:
    """Everything here blocks, and is to be called by one thread at a time.

    ``now`` is a clock that never goes back, in seconds.
    """

    def __init__(self, spec: DirectorySpec, uri: str, *, now: Callable[[], float]) -> None:
        self._spec = spec
        self._now = now
        self._uri = uri
        self._told = Told(spec)
        self._met: dict[Key, float] = {}
        """When each file that is not told was first seen as it is."""
        self._unfinished: dict[Key, Taken] = {}
        """Those that were told, and could not be moved or deleted."""
        self._troubles: list[str] = []
        self._seen_ns: int | None = None
        """When what is there was last looked for, if all of it was found."""

    def restore(self, place: Json) -> None:
        self._told.restore(place)

    @property
    def place(self) -> Json:
        return self._told.place(self._met.keys(), self._seen_ns)

    @property
    def trouble(self) -> str | None:
        """What has gone wrong since the last look, and with it."""
        return self._troubles[0] if self._troubles else None

    @property
    def waiting(self) -> int:
        """How many files were there at the last look and have not been told."""
        return len(self._met)

    # --- which files -----------------------------------------------------------------------

    def look(self) -> list[File]:
        """Return the files that are to be told, those first that came first."""
        self._troubles = []
        self._seen_ns = None
        self.finish(list(self._unfinished.values()))
        troubles: list[str] = []
        began_ns = time.time_ns()
        try:
            cannot = self._cannot_put_away()
            found = {file.key: file for file in files(self._spec, troubles)}
        except OSError as error:
            self._troubles.append(unreadable(self._spec.path, error))
            return []
        self._troubles += troubles
        if self._spec.afterwards == "keep":
            self._told.are_there(found.keys(), all=not troubles)
        elif not troubles:
            self._told.forget_all_but(found.keys())
        now = self._now()
        self._met = {key: self._met.get(key, now) for key in found if key not in self._told}
        if cannot is not None:
            self._troubles.append(cannot)
            return []
        if not troubles:
            self._seen_ns = began_ns
        before = now - self._spec.settled_for.total_seconds()
        return [found[key] for key in sorted(self._met) if self._met[key] <= before]

    def _cannot_put_away(self) -> str | None:
        """Return why no file that is told could be moved or deleted, if so."""
        if self._spec.afterwards == "keep":
            return None
        status = os.stat(self._spec.path)  # noqa: PTH116 - a string
        if self._spec.move_to is not None:
            moved_to = Path(self._spec.move_to)
            try:
                moved_to.mkdir(exist_ok=True)
                apart = moved_to.stat().st_dev != status.st_dev
            except OSError as error:
                return f"moveTo: {moved_to} cannot be made: {error.strerror}"
            if apart:
                return f"moveTo: {moved_to} is on another file system than {self._spec.path}"
        if not os.access(self._spec.path, os.W_OK | os.X_OK):
            return f"files in {self._spec.path} cannot be {self._done}: no leave to write there"
        return None

    @property
    def _done(self) -> str:
        return {"keep": "kept", "move": "moved", "delete": "deleted"}[self._spec.afterwards]

    # --- what they become ------------------------------------------------------------------

    def batches(self, ready: Iterable[File]) -> Iterator[Sequence[File]]:
        """Yield as many files at a time as may be in memory together."""
        batch: list[File] = []
        size = 0
        for file in ready:
            taken = file.size if self._spec.content == "data" else 0
            if taken > self._spec.max_bytes:
                taken = 0  # it is rejected, and not read
            if batch and (len(batch) == _FILES_AT_ONCE or size + taken > _BYTES_AT_ONCE):
                yield batch
                batch, size = [], 0
            batch.append(file)
            size += taken
        if batch:
            yield batch

    def take(self, batch: Sequence[File]) -> list[Taken]:
        """Return what these files become, but for those that have changed or gone since."""
        taken = []
        for file in batch:
            try:
                if not file.is_still(os.lstat(file.path)):
                    continue
                taken.append(self._become(file))
            except (Changed, FileNotFoundError):
                continue
            except OSError as error:
                self._troubles.append(unreadable(file.path, error))
        return taken

    def _become(self, file: File) -> Taken:
        moved_to = self._free_name(file)
        event: Event | InvalidEvent
        try:
            event = event_of(file, self._spec, self._uri, moved_to)
        except InvalidEvent as error:
            event = error
        return Taken(file=file, event=event, moved_to=moved_to)

    def _free_name(self, file: File) -> str | None:
        if self._spec.move_to is None:
            return None
        path = f"{absolute(self._spec.move_to)}/{file.name}"
        if not os.path.lexists(path):
            return path
        name = PurePath(path)
        return str(name.with_name(f"{name.stem}.{file.key[0]:x}{name.suffix}"))

    # --- what becomes of them --------------------------------------------------------------

    def told(self, taken: Sequence[Taken], *, rejected: bool = False) -> None:
        """Take note that these are durable, and see to them.

        What was rejected is not deleted: nobody else has it.
        """
        for each in taken:
            self._told.add(each.file.key)
            self._met.pop(each.file.key, None)
        if not (rejected and self._spec.afterwards == "delete"):
            self.finish(taken)

    def finish(self, taken: Sequence[Taken]) -> None:
        """Move or delete these files, if they are to be, and are still what was told."""
        if self._spec.afterwards == "keep":
            return
        for each in taken:
            self._unfinished.pop(each.file.key, None)
            try:
                if each.file.is_still(os.lstat(each.file.path)):
                    self._put_away(each)
                self._told.forget(each.file.key)
            except FileNotFoundError:
                self._told.forget(each.file.key)
            except OSError as error:
                self._unfinished[each.file.key] = each
                why = f"{shown(each.file.path)} cannot be {self._done}: {error.strerror}"
                self._troubles.append(why)

    def _put_away(self, taken: Taken) -> None:
        path = Path(taken.file.path)
        if taken.moved_to is None:
            path.unlink()
            return
        moved_to = Path(taken.moved_to)
        moved_to.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(moved_to):
            raise OSError(0, f"{shown(moved_to)} is there already")
        path.rename(moved_to)
