"""The errors of the mesh: few, and each says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Literal


class CemeshError(Exception):
    """Anything that the mesh refuses or cannot do. Its text is meant for the user.

    ``subject`` is the object that it is about, as ``Kind namespace/name``, where that is known.
    """

    subject: str = ""


class InvalidEvent(CemeshError):
    """What came in is not a valid CloudEvent (HTTP 400).

    ``attribute`` names the attribute at fault, or is None where the message as a whole is.
    ``index`` is the event's place in its batch, counted from 0, or None outside a batch.
    """

    def __init__(
        self, detail: str, *, attribute: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.attribute = attribute
        self.index = index

    def at(self, index: int) -> InvalidEvent:
        """Return the same refusal, placed at ``index`` of a batch."""
        return InvalidEvent(self.detail, attribute=self.attribute, index=index)


class TooLarge(InvalidEvent):
    """The message is larger than the mesh, or the store that is to keep it, takes (HTTP 413)."""


class HopsExhausted(InvalidEvent):
    """The event has gone round through replies as often as the mesh allows (HTTP 400)."""


class UnsupportedContent(CemeshError):
    """The message is in a format, charset or encoding that the mesh does not read (HTTP 415)."""


class UnknownBroker(CemeshError):
    """No broker of that name is running (HTTP 404)."""


class UnknownTrigger(CemeshError):
    """The files have no trigger of that name (HTTP 404)."""


class NotParked(CemeshError):
    """No such event is parked in this process (HTTP 404)."""


class ChannelUnavailable(CemeshError):
    """The store cannot take or give events now (HTTP 503).

    Nothing of the call counts as stored; a server that went away amid it may have it all the same.
    """

    def __init__(self, detail: str, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ChannelFull(CemeshError):
    """More is waiting to be stored than the channel buffers (HTTP 429). Nothing was stored."""

    def __init__(self, detail: str, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class UpstreamUnavailable(CemeshError):
    """What a source reads from cannot be reached, or does not work. It is tried again and again."""


class DataDirectoryInUse(CemeshError):
    """Another process holds the data directory; the text says which."""


class PluginNotFound(CemeshError):
    """No installed plug-in serves this kind or URL scheme; the text lists what is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong, or doubtful, in a manifest.

    Printed as ``file:line: Kind ns/name: path: what is wrong``; parts that are not known
    are left out. ``line`` is counted from 1. ``path`` is like ``spec.filters[0].exact``.
    """

    file: Path | None
    line: int | None
    message: str
    subject: str = ""
    path: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = "" if self.file is None else str(self.file)
        if self.line is not None:
            place = f"{place}:{self.line}"
        severity = "" if self.severity == "error" else self.severity
        parts = (place, severity, self.subject, self.path, self.message)
        return ": ".join(part for part in parts if part)


class InvalidManifest(CemeshError):
    """The manifests cannot be run; ``problems`` lists everything that is wrong with them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` with the known word that is closest, or nothing."""
    by_folded = {each.casefold(): each for each in known}
    close = get_close_matches(word.casefold(), by_folded, n=1)
    return f" (did you mean '{by_folded[close[0]]}'?)" if close else ""
