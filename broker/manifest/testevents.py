"""Reads the events of tests: what ingress would refuse is refused, in the same words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.codecs.json import decode_event
from broker.errors import InvalidEvent, Problem
from broker.event import Event
from broker.manifest.files import read_file
from broker.manifest.objects import Place
from broker.manifest.reading import required

# What hardly a filter asks for, so that a test may leave it out.
_FILLED_IN: Final[Mapping[str, str]] = {"specversion": "1.0", "id": "test"}
# A valid event, for every attribute to be tried on by itself.
_VALID: Final[Mapping[str, str]] = {**_FILLED_IN, "source": "/", "type": "test"}
_NEEDS_QUOTES: Final = (bool, int, float)


def event_of(written: Mapping[str, object], place: Place) -> Event | None:
    """Return the event that stands at ``place``, and report everything that is wrong with it.

    It is in the JSON event format of CloudEvents 1.0.2, ``data`` and ``data_base64`` included,
    but written as YAML. ``specversion`` and ``id`` may be left out.
    """
    members = {name: each for name, each in written.items() if each is not None or name == "data"}
    for name, each in members.items():
        fault = _fault(name, each)
        if fault is not None:
            in_quotes = isinstance(each, _NEEDS_QUOTES) and _fault(name, str(each)) is None
            place.at(name).error(f"{fault}: put it in quotes" if in_quotes else fault)
    for name in ("type", "source"):
        required(members.get(name), place.at(name))
    event = _decoded({**_FILLED_IN, **members})
    if isinstance(event, str):  # the members do not go together, if nothing else was said
        place.error(event)
        return None
    return event


def event_in(file: Path, place: Place) -> Event | None:
    """Return the structured event that the file holds; report at ``place`` why it does not."""
    if not file.is_file():
        place.error(f"no file {file}")
        return None
    content = read_file(file)
    if isinstance(content, Problem):
        place.error(str(content))
        return None
    try:
        return decode_event(content)
    except InvalidEvent as error:
        place.error(f"{file}: {error.detail}")
        return None


def _fault(name: str, value: object) -> str | None:
    """Return what is wrong with a member by itself."""
    event = _decoded({**_VALID, name: value})
    return event if isinstance(event, str) else None


def _decoded(members: Mapping[str, object]) -> Event | str:
    """Return the event, or why it is none."""
    try:
        return decode_event(json.dumps(members, allow_nan=False).encode())
    except InvalidEvent as error:
        return error.detail
    except ValueError:
        return "JSON has no infinite numbers, and no NaN"
