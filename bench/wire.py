"""HTTP/1.1 as the load generator and the sink speak it: as little of it as can be.

Both share their cores with each other, and must cost less than what is measured. So requests are
prepared but for an event's id, and of a message only the head is looked at.

An event's id is `RUN-NUMBER-NANOSECONDS`: which run it is of, its number there, counted from 0,
and when it was due, by `time.monotonic_ns`, which is the same clock in all processes of a machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final, Literal

Mode = Literal["binary", "structured", "batch"]
Encode = Callable[[Sequence[bytes]], bytes]
"""Return the request that carries events with these ids."""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_MARK: Final = b"@ID@"


class Unreadable(Exception):
    """A message that this module does not read, so that nothing can be counted by it."""


class Messages:
    """Takes what comes over one connection apart."""

    def __init__(self) -> None:
        self._rest = b""

    def heads(self, data: bytes) -> Sequence[bytes]:
        """Return the heads, in lower case and without their last line break, of what is complete.

        Raises:
            Unreadable: A message whose length is not told by `Content-Length`.

        """
        if self._rest:
            data = self._rest + data
        found = []
        start = 0
        while (end := data.find(_END, start)) >= 0:
            head = data[start:end].lower()
            end += len(_END) + _length(head)
            if end > len(data):
                break
            found.append(head)
            start = end
        self._rest = data[start:]
        return found


def _length(head: bytes) -> int:
    if b"\r\ntransfer-encoding:" in head:
        raise Unreadable(f"only Content-Length is read: {head!r}")
    return int(header(head, _LENGTH) or 0)


def header(head: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, by its name with the line break before and the colon after."""
    at = head.find(name)
    if at < 0:
        return None
    stop = head.find(b"\r\n", at + 2)
    return head[at + len(name) : stop if stop >= 0 else len(head)].strip()


def encoder(mode: Mode, *, path: str, kind: str, size: int) -> Encode:
    """Return what makes requests to the path, of events of the type ``kind`` and so many bytes."""
    payload = json.dumps({"filler": "x" * (size - len('{"filler": ""}'))}).encode()
    attributes = {
        "specversion": "1.0",
        "source": "/bench",
        "type": kind,
        "time": "2026-01-31T12:00:00.000000Z",
        "datacontenttype": "application/json",
    }
    if mode == "binary":
        return _binary(path, attributes, payload)
    event = json.dumps({"id": _MARK.decode(), **attributes}).encode()
    before, after = (event[:-1] + b',"data":' + payload + b"}").split(_MARK)
    if mode == "structured":
        return _structured(path, before, after)
    return _batch(path, before, after)


def _binary(path: str, attributes: dict[str, str], payload: bytes) -> Encode:
    named = {f"ce-{name}": value for name, value in attributes.items() if name[:4] != "data"}
    named["content-type"] = attributes["datacontenttype"]
    lines = "".join(f"\r\n{name}: {value}" for name, value in named.items())
    before = _head(path, lines, len(payload)) + b"\r\nce-id: "
    after = _END + payload
    return lambda ids: before + ids[0] + after


def _structured(path: str, before: bytes, after: bytes) -> Encode:
    lines = "\r\ncontent-type: application/cloudevents+json"
    around = len(before) + len(after)

    def encode(ids: Sequence[bytes]) -> bytes:
        return _head(path, lines, around + len(ids[0])) + _END + before + ids[0] + after

    return encode


def _batch(path: str, before: bytes, after: bytes) -> Encode:
    lines = "\r\ncontent-type: application/cloudevents-batch+json"
    between = after + b"," + before

    def encode(ids: Sequence[bytes]) -> bytes:
        body = b"[" + before + between.join(ids) + after + b"]"
        return _head(path, lines, len(body)) + _END + body

    return encode


def _head(path: str, lines: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: bench{lines}\r\ncontent-length: {length}".encode()
