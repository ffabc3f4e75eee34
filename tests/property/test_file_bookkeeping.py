"""Whatever happens to the files, and whenever the process dies: each line is read, as written.

What is read goes through chunks of a few bytes, so that a handful of lines takes every path.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.ports import Json
from sources.file import tail, tails
from sources.file.tail import Line
from sources.file.tails import Tails

LONGEST = 40


@pytest.fixture(autouse=True, scope="module")
def tiny_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "_CHUNK", 16)
        patch.setattr(tail, "_CHUNKS_AT_ONCE", 2)
        patch.setattr(tail, "_MARK", 12)
        patch.setattr(tails, "_LINES_AT_ONCE", 3)
        patch.setattr(tails, "_OPEN", 2)
        yield


@dataclass(frozen=True)
class Append:
    """Write these bytes, which may end anywhere."""

    data: bytes


@dataclass(frozen=True)
class Rename:
    """Rename the file as it is rotated away, to a name that matches or to none."""

    matching: bool


@dataclass(frozen=True)
class Empty:
    """Copy the file and empty it, once it has been read."""


@dataclass(frozen=True)
class Delete:
    """Delete the file, once it has been read."""


@dataclass(frozen=True)
class Run:
    """Look for files, and read so often."""

    reads: int


@dataclass(frozen=True)
class Crash:
    """Start again from what was saved last; ``saving``: the last read was saved."""


@dataclass(frozen=True)
class CrashUnsaved:
    """Read, and die before that is saved."""


@dataclass(frozen=True)
class Pass:
    """Let time go by until files that were rotated away count as finished."""


Step = Append | Rename | Empty | Delete | Run | Crash | CrashUnsaved | Pass

pieces = st.lists(
    st.sampled_from(["\n", "\n", "\r\n", "x", "ä€", "\0", "y" * 11, "z" * 30]), max_size=8
).map(lambda parts: "".join(parts).encode())
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Append, st.builds(lambda data, cut: data[cut:], pieces, st.integers(0, 3))),
        st.builds(Append, st.builds(lambda data: data + b"\n", pieces)),
        st.builds(Rename, st.booleans()),
        st.builds(Run, st.integers(0, 4)),
        st.sampled_from([Empty(), Delete(), Crash(), CrashUnsaved(), Pass()]),
    ),
    max_size=30,
)


class World:
    """A folder of files, who writes them, and who reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "a.log"
        self.time = 0.0
        self.saved: Json = None
        self.emitted: dict[str, Line] = {}
        self.order: list[str] = []
        self.written: list[bytearray] = []
        """What was written to each file that there has been. No rest is like a line."""
        self.serial = 0
        self.reader = self.start()

    def start(self) -> Tails:
        reader = Tails(str(self.folder / "*.log"), longest=LONGEST, now=lambda: self.time)
        if self.saved is not None:
            reader.restore(self.saved)
        return reader

    # --- who writes ------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        if not self.log.exists():
            self.written.append(bytearray())
        self.serial += 1
        data = re.sub(rb"(\r?\n)", rb"<%d>\1[%d]" % (self.serial, self.serial), data)
        with self.log.open("ab") as file:
            file.write(data)
        self.written[-1] += data

    # --- who reads -------------------------------------------------------------------------

    def take(self, found: list[Line]) -> None:
        for line in found:
            again = self.emitted.setdefault(line.id, line)
            assert again == line, "an id twice, with different content"
            if again is line:
                self.order.append(line.id)

    def look(self) -> None:
        self.time += 1
        self.reader.look()
        self.saved = self.reader.place

    def read(self, times: int) -> None:
        for _ in range(times):
            self.take(self.reader.read())
            self.saved = self.reader.place

    def to_the_end(self) -> None:
        for _ in range(1000):
            self.look()
            if not self.reader.behind:
                break
            self.read(2)
        self.take(self.reader.finish())
        self.saved = self.reader.place

    def crash(self) -> None:
        self.reader.close()
        self.reader = self.start()

    def do(self, step: Step) -> None:
        match step:
            case Append(data):
                self.append(data)
            case Run(reads):
                self.look()
                self.read(reads)
            case Crash():
                self.crash()
            case CrashUnsaved():
                self.look()
                self.take(self.reader.read())
                self.crash()
            case Pass():
                self.to_the_end()
                self.time += 60
                self.to_the_end()
            case Rename() | Empty() | Delete():
                if self.log.exists():
                    self.rotate(step)

    def rotate(self, step: Rename | Empty | Delete) -> None:
        match step:
            case Rename(matching):
                self.look()  # a file that was never seen under a name that matches is lost
                name = f"a-{len(self.written)}.log"
                self.log.rename(self.folder / (name if matching else f"a.log.{name}.old"))
            case Empty():
                self.to_the_end()
                os.truncate(self.log, 0)
                self.written.append(bytearray())
            case Delete():
                self.to_the_end()
                self.log.unlink()


def shown(line: Line) -> tuple[bytes, int | None]:
    return line.data, line.too_long


def as_line(text: bytes) -> tuple[bytes, int | None]:
    return (text, len(text)) if len(text) > LONGEST else (text.removesuffix(b"\r"), None)


@example([Append(b"\n"), Empty(), Crash(), Append(b"\n"), Rename(matching=False), Crash()])
@example([Append(b"z" * 30), Empty(), Append(b"y" * 22 + b"\n" + b"z" * 30)])
@example([Append(b"\n"), Empty(), Append(b"\n"), Rename(matching=True), Append(b"\n")])
@given(steps)
@settings(deadline=None)
def test_every_complete_line_is_read_as_written_in_its_order_and_none_is_skipped(
    history: list[Step],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in history:
            world.do(step)
        world.to_the_end()
        world.reader.close()

    read = [shown(world.emitted[each]) for each in world.order]
    written = [bytes(content).split(b"\n") for content in world.written]
    wanted = [[as_line(line) for line in complete] for *complete, _ in written]
    for complete in wanted:
        assert [each for each in read if each in complete] == complete
    every = [each for complete in wanted for each in complete]
    rests = {as_line(rest) for *_, rest in written}
    assert {each for each in read if each not in every} <= rests
    if Delete() not in history:  # which frees an inode for another file
        assert [each for each in read if each in every] == every, "all were called the same"
