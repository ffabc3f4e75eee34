"""The event that a line is, or is the payload of."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec

from broker.codecs.json import decode_event
from broker.errors import InvalidEvent
from broker.event import Event
from sources.file.spec import FileSpec
from sources.file.tail import Line

_value: Final = msgspec.json.Decoder(msgspec.Raw)

_IN_A_FRAGMENT: Final = "/?:@!$&'()*+,;="


def event_of(line: Line, spec: FileSpec, uri: str) -> Event:
    """Return the event of this line, in a file of the source ``uri``; raises `InvalidEvent`."""
    if line.too_long is not None:
        raise InvalidEvent(
            f"{line.too_long:,} bytes are more than maxLineBytes, {spec.max_line_bytes:,}"
        )
    if spec.format == "cloudevents":
        return decode_event(line.data)
    if spec.format == "json":
        _check_json(line.data)
    attributes = {
        "specversion": "1.0",
        "id": line.id,
        "source": _source(uri, line.path),
        "type": spec.type or "",
        "datacontenttype": "application/json" if spec.format == "json" else "text/plain",
    }
    return Event.checked(attributes, line.data)


@lru_cache(maxsize=1024)
def _source(uri: str, path: str) -> str:
    return f"{uri}#{quote(os.fsencode(path), safe=_IN_A_FRAGMENT)}"


def _check_json(text: bytes) -> None:
    try:
        text.decode()  # which msgspec leaves alone in what it does not unpack
        _value.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"it is not UTF-8: {error.reason} (byte {error.start})") from error
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidEvent("the JSON is nested too deep") from error
