"""The event that a file is told by."""

from __future__ import annotations

import mimetypes
import os
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from broker.errors import InvalidEvent
from broker.event import Event, check_attribute
from sources.directory.files import File
from sources.directory.spec import DirectorySpec

TYPE: Final = "dev.cemesh.directory.file"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_types: Final = mimetypes.MimeTypes()  # Python's own table: not that of the machine, which differs
for _ending, _type in {
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}.items():
    _types.add_type(_type, _ending)

_COMPRESSED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}


def event_of(file: File, spec: DirectorySpec, uri: str, moved_to: str | None) -> Event:
    """Return the event of this file, of the source ``uri``; raises `InvalidEvent`.

    Raises `OSError` where the file cannot be read, `Changed` where it is not what it was.
    """
    check_attribute("subject", file.name)  # of a name that is no text there can be no reference
    attributes = {
        "specversion": "1.0",
        "id": file.id,
        "source": uri,
        "type": TYPE,
        "subject": file.name,
        "filesize": str(file.size),
    }
    if (time := _time(file.mtime_ns)) is not None:
        attributes["time"] = time
    if spec.content == "data":
        attributes["datacontenttype"] = content_type(file.name)
        return Event.checked(attributes, _data(file, spec.max_bytes))
    attributes["datacontenttype"] = "application/json"
    where = {"path": file.path} if moved_to is None else {"path": file.path, "movedTo": moved_to}
    return Event.checked(attributes, msgspec.json.encode(where))


class Changed(Exception):
    """The file is no longer what it was when it was met."""


def content_type(name: str) -> str:
    found, compressed = _types.guess_type(name.rpartition("/")[2], strict=False)
    if compressed is not None:
        found = _COMPRESSED.get(compressed)
    return found or "application/octet-stream"


def _data(file: File, most: int) -> bytes:
    if file.size > most:
        raise InvalidEvent(f"{file.size:,} bytes are more than maxBytes, {most:,}")
    # What has taken its place may be a pipe, and to open that would take for ever.
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - it is open already
        data = opened.read(file.size + 1)
        if not file.is_still(os.fstat(descriptor)) or len(data) != file.size:
            raise Changed
    return data


def _time(mtime_ns: int) -> str | None:
    """Return the timestamp, if it is one of the years 1 to 9999; some files say otherwise."""
    try:
        time = _EPOCH + timedelta(microseconds=mtime_ns // 1_000)
    except OverflowError:
        return None
    return time.isoformat().replace("+00:00", "Z")
