"""Events for people: what came, when, and what is in it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

import click
import msgspec

from broker.event import Event

_IN_HEAD: Final = frozenset({"specversion", "type", "source", "subject", "id", "datacontenttype"})
_MAX_LINES: Final = 20
_MAX_WIDTH: Final = 160
_MAX_BYTES: Final = 1 << 16
_ONE_LINE: Final = 88


def event_text(event: Event, *, at: datetime, place: str) -> str:
    """Return the event on a few lines: head, other attributes, data, the latter truncated."""
    time = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"
    lines = [_head(event, time, place), *_other_attributes(event)]
    lines += [f"    {line}" for line in _data_lines(event.data)]
    return "\n".join(lines)


def stored_text(event: Event, *, at: datetime) -> str:
    """Return the attributes of an event that was stored, and when that was."""
    time = f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
    return "\n".join([_head(event, time, place=""), *_other_attributes(event)])


def attributes_text(event: Event) -> str:
    """Return the attributes of an event."""
    return "\n".join([_head(event, time="", place=""), *_other_attributes(event)])


def _head(event: Event, time: str, place: str) -> str:
    return "  ".join(
        part
        for part in (
            click.style(time, dim=True) if time else "",
            place,
            click.style(printable(event.type), bold=True),
            *(
                f"{name}={printable(event.attributes[name])}"
                for name in ("source", "subject", "id")
                if name in event.attributes
            ),
        )
        if part
    )


def _other_attributes(event: Event) -> list[str]:
    others = [
        f"{name}={printable(value)}"
        for name, value in event.attributes.items()
        if name not in _IN_HEAD
    ]
    return [f"    {click.style(' '.join(others), dim=True)}"] if others else []


def printable(text: str) -> str:
    """Return the text with everything escaped that a terminal would act upon."""
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


def _data_lines(data: bytes | None) -> list[str]:
    if data is None:
        return []
    shown = data[:_MAX_BYTES]
    try:
        text = _pretty(data) if len(shown) == len(data) else shown.decode(errors="replace")
    except UnicodeDecodeError:
        return [f"({len(data):,} bytes that are not text)"]
    lines = printable(text).split("\n")
    kept = [
        line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]} …" for line in lines[:_MAX_LINES]
    ]
    if len(kept) < len(lines) or len(shown) < len(data):
        kept.append(f"… ({len(data):,} bytes in all)")
    return kept


def _pretty(data: bytes) -> str:
    try:
        line = msgspec.json.format(data, indent=0).decode()
        if len(line) <= _ONE_LINE:
            return line
        return msgspec.json.format(data, indent=2).decode()
    except (msgspec.DecodeError, RecursionError):
        return data.decode()
