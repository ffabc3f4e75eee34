"""What a manifest says to a FileSource."""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from broker.errors import InvalidEvent
from broker.event import check_attribute
from broker.manifest.shapes import Shape

COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""How the names of files end whose lines cannot be read as they stand."""


class FileSpec(Shape):
    """What a FileSource's ``spec`` says beside its sink.

    ``path`` is a file or a pattern (``*``, ``?``, ``[…]``, and ``**`` for any folders), absolute
    or relative to the folder that cemesh was started in. ``type`` is that of the events, unless
    each line is one. ``startAt`` is about the files that are there when the source runs for the
    first time.
    """

    path: Annotated[str, Field(min_length=1)]
    format: Literal["cloudevents", "json", "text"]
    type: str | None = None
    start_at: Literal["beginning", "end"] = "beginning"
    max_line_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 1 << 20

    @field_validator("path")
    @classmethod
    def _can_be_read(cls, path: str) -> str:
        if "\0" in path:
            raise ValueError("contains a NUL, which the path of no file does")
        if path.startswith("~"):
            raise ValueError(f"'{path}': a ~ stands for nobody's folder here; write the whole path")
        if path.endswith("/") or os.path.isdir(path):  # noqa: PTH112 - a pattern is no Path
            raise ValueError(f"'{path}' is a folder; write which files, such as {_within(path)}")
        if path.endswith(COMPRESSED):
            raise ValueError(f"'{path}': compressed files are not read, only those that grow")
        return path

    @field_validator("type")
    @classmethod
    def _can_be_a_type(cls, type: str | None) -> str | None:
        if type is not None:
            try:
                check_attribute("type", type)
            except InvalidEvent as error:
                raise ValueError(error.detail.removeprefix("'type' ")) from None
        return type

    @model_validator(mode="after")
    def _has_one_type(self) -> Self:
        if self.format == "cloudevents" and self.type is not None:
            raise ValueError("with 'format: cloudevents' each line says its own type: drop 'type'")
        if self.format != "cloudevents" and self.type is None:
            raise ValueError("'type' is missing: that of the events, such as com.example.order")
        return self


def _within(folder: str) -> str:
    return f"{folder.rstrip('/')}/*.jsonl"
