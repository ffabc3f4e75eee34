"""The events that an object is, or that tell of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from broker.codecs import http
from broker.codecs.fitting import fitting
from broker.connections.s3 import Listed
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event
from sources.s3.lines import Line
from sources.s3.spec import S3Spec

TYPE: Final = "dev.cemesh.s3.object-created"
LINE_TYPE: Final = "dev.cemesh.s3.line"

_METADATA: Final = "x-amz-meta-"
_value: Final = msgspec.json.Decoder(msgspec.Raw)


def reference_to(listed: Listed, spec: S3Spec, uri: str) -> Event:
    """Return the event that says which object it is. Raises `InvalidEvent`."""
    found = {
        "bucket": spec.bucket,
        "key": listed.key,
        "etag": _etag(listed),
        "size": listed.size,
        "lastModified": listed.modified,
    }
    moved = spec.moved(listed.key)
    if moved is not None:
        found["movedTo"] = moved
    data = json.dumps(found, ensure_ascii=False).encode()
    attributes = _attributes(listed, spec, uri, {"datacontenttype": "application/json"})
    return Event.checked(attributes, data)


def events_of(
    listed: Listed, headers: Mapping[str, str], data: bytes, spec: S3Spec, uri: str
) -> Sequence[Event]:
    """Return the events that an object is, or the one that has it as its data.

    An object is CloudEvents if it would be as a message of HTTP, metadata being its headers. Raises
    `InvalidEvent`, also for what says that it is CloudEvents, and is none.
    """
    message = [
        (name.removeprefix(_METADATA).encode("latin-1", "replace"), value.encode(errors="replace"))
        for name, value in headers.items()
        if name == "content-type" or name.startswith(f"{_METADATA}ce-")
    ]
    if http.claims_event(message):
        try:
            return http.decode(message, data)
        except UnsupportedContent as error:
            raise InvalidEvent(str(error)) from error
    found = {"datacontenttype": headers.get("content-type"), "etag": _etag(listed)}
    return [Event.checked(_attributes(listed, spec, uri, found), data)]


def line_of(line: Line, listed: Listed, spec: S3Spec, uri: str) -> Event:
    """Return the event of a line of JSON. Raises `InvalidEvent`."""
    if line.data is None:
        raise InvalidEvent(f"it is longer than maxBytes, {spec.max_bytes:,}")
    try:
        line.data.decode()  # which msgspec leaves alone in what it does not unpack
        _value.decode(line.data)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(f"it is not JSON: {error}") from error
    found = {"datacontenttype": "application/json", "etag": _etag(listed)}
    attributes = _attributes(listed, spec, uri, found)
    attributes |= {"type": LINE_TYPE, "id": f"{attributes['id']}#{line.number}"}
    return Event.checked(attributes, line.data)


def _attributes(
    listed: Listed, spec: S3Spec, uri: str, found: Mapping[str, str | None]
) -> dict[str, str]:
    identity = {
        "specversion": "1.0",
        "id": listed.version,
        "source": f"{uri}#{spec.bucket}",
        "type": TYPE,
        "subject": listed.key,
    }
    return fitting(identity, {**found, "time": listed.modified})


def _etag(listed: Listed) -> str:
    return listed.etag.strip('"')
