"""What a manifest says to a DirectorySource."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from broker.manifest.durations import Duration, PositiveDuration
from broker.manifest.shapes import Shape

UNFINISHED: Final = (".tmp", ".part")
"""How the names of files end that their writers will rename once they are whole."""

_MOST_OFTEN: Final = timedelta(milliseconds=100)


def _folder(path: str) -> str:
    if "\0" in path:
        raise ValueError("contains a NUL, which the path of no folder does")
    if path.startswith("~"):
        raise ValueError(f"'{path}': a ~ stands for nobody's folder here; write the whole path")
    if os.path.isfile(path):  # noqa: PTH113 - it stays a string
        raise ValueError(
            f"'{path}' is a file; write its folder, and the file's name as the 'pattern'"
        )
    return path


def _name(pattern: str) -> str:
    if "/" in pattern:
        raise ValueError(
            f"'{pattern}' is matched with names, which have no '/': write the folder as 'path'"
        )
    if pattern.startswith(".") or pattern.endswith(UNFINISHED):
        raise ValueError(
            f"'{pattern}': names that begin with a dot or end with {' or '.join(UNFINISHED)} are "
            "those of files that are not finished, and left alone"
        )
    return pattern


def _not_too_often(interval: timedelta) -> timedelta:
    if interval < _MOST_OFTEN:
        raise ValueError("is less than PT0.1S")
    return interval


FolderPath = Annotated[str, Field(min_length=1), AfterValidator(_folder)]


class DirectorySpec(Shape):
    """What a DirectorySource's ``spec`` says beside its sink.

    ``path`` is a folder, absolute or relative to the folder that cemesh was started in.
    ``pattern`` (``*``, ``?``, ``[…]``) is that of the names of the files in it, and with
    ``recursive`` in the folders within it. A file has to be unchanged ``settledFor`` such long.
    With ``data`` its bytes are the payload, ``maxBytes`` at most.
    """

    path: FolderPath
    pattern: Annotated[str, Field(min_length=1), AfterValidator(_name)] = "*"
    recursive: bool = False
    interval: Annotated[PositiveDuration, AfterValidator(_not_too_often)] = timedelta(seconds=1)
    settled_for: Duration = timedelta(seconds=2)
    content: Literal["reference", "data"] = "reference"
    max_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 1 << 20
    afterwards: Literal["keep", "delete", "move"] = "keep"
    move_to: FolderPath | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.content == "reference" and "max_bytes" in self.model_fields_set:
            raise ValueError("'maxBytes' bounds the payload of 'content: data' alone: drop it")
        if self.content == "reference" and self.afterwards == "delete":
            raise ValueError(
                "'afterwards: delete' would leave events that refer to files that are gone: "
                "use 'content: data', or 'afterwards: move'"
            )
        if self.afterwards == "move" and self.move_to is None:
            raise ValueError("'moveTo' is missing: the folder that files are moved to")
        if self.afterwards != "move" and self.move_to is not None:
            raise ValueError("'moveTo' is for 'afterwards: move': add that, or drop 'moveTo'")
        if self.move_to is not None and absolute(self.move_to) == absolute(self.path):
            raise ValueError("'moveTo' is the folder of 'path' itself: files would come again")
        return self


def absolute(path: str) -> str:
    """Return the path from the root of the file system, without a slash at its end."""
    return os.path.abspath(path)  # noqa: PTH100 - it takes `..` away as well
