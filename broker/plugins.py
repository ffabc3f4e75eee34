"""Finds the channels, sinks and sources that are installed, ours and everybody else's.

A plug-in is an entry point: of the group ``cemesh.channels`` or ``cemesh.sinks``, named by its
URL scheme, or of ``cemesh.sources``, named by its kind. What is installed is known without
importing anything; a plug-in is imported when it is first asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from broker.errors import PluginNotFound, did_you_mean
from broker.ports import Backend, ProvingSinks, Sinks, Source

BROKER_SCHEME: Final = "broker"
"""``broker://NAMESPACE/NAME`` is served by the mesh itself, not by a plug-in."""


def channel_backend(scheme: str) -> type[Backend]:
    """Return the backend for channel URLs of that scheme, or raise `PluginNotFound`."""
    return cast("type[Backend]", _load("channel", "scheme", scheme))


def is_one_channel(scheme: str, other: str) -> bool:
    """Return whether URLs of both schemes are for the same channel, which may have several."""
    if scheme == other:
        return True
    installed = _installed("channel", tuple(sys.path))
    one, another = ({each.value for each in installed.get(name, ())} for name in (scheme, other))
    return one == another != set()


def sinks(scheme: str) -> type[Sinks]:
    """Return what serves destinations of that URL scheme, or raise `PluginNotFound`."""
    return cast("type[Sinks]", _load("sink", "scheme", scheme))


def webhooks() -> type[ProvingSinks] | None:
    """Return what shows keys and credentials to https destinations.

    None where that cannot say what is wrong with them. Raises `PluginNotFound`.
    """
    found = sinks("https")
    return cast("type[ProvingSinks]", found) if hasattr(found, "flaw") else None


def source(kind: str) -> type[Source]:
    """Return the source of that kind, or raise `PluginNotFound`."""
    return cast("type[Source]", _load("source", "kind", kind))


def channel_schemes() -> frozenset[str]:
    """Return the URL schemes that channels are installed for."""
    return frozenset(_installed("channel", tuple(sys.path)))


def sink_schemes() -> frozenset[str]:
    """Return the URL schemes that an event can be sent to, ``broker`` among them."""
    return frozenset(_installed("sink", tuple(sys.path))) | {BROKER_SCHEME}


def source_kinds() -> frozenset[str]:
    """Return the kinds of source that are installed."""
    return frozenset(_installed("source", tuple(sys.path)))


@cache
def _installed(what: str, path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return name → entry points. ``path`` is where they are searched: a part of the key only.

    Reading the metadata of everything installed takes tens of milliseconds, a manifest asks
    for it with every object.
    """
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=f"cemesh.{what}s"):
        others = found.get(point.name, ())
        if all(point.value != other.value for other in others):
            found[point.name] = (*others, point)
    return found


def _load(what: str, by: str, name: str) -> object:
    return _loaded(what, by, name, tuple(sys.path))


@cache
def _loaded(what: str, by: str, name: str, path: tuple[str, ...]) -> object:
    installed = _installed(what, path)
    match installed.get(name, ()):
        case ():
            known = ", ".join(sorted(installed)) or "none"
            raise PluginNotFound(
                f"no {what} is installed for the {by} '{name}'"
                f"{did_you_mean(name, installed)}; installed: {known}"
            )
        case (point,):
            return _imported(what, point)
        case several:
            claims = " and ".join(sorted(map(_origin, several)))
            raise PluginNotFound(
                f"more than one {what} is installed for the {by} '{name}': {claims}; "
                "uninstall all but one"
            )


def _imported(what: str, point: EntryPoint) -> object:
    try:
        loaded: object = point.load()
    except Exception as error:  # a stranger's module may raise anything when it is imported
        raise PluginNotFound(
            f"the {what} '{point.name}' is installed ({_origin(point)}) but cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    return loaded


def _origin(point: EntryPoint) -> str:
    distribution = "an unknown distribution" if point.dist is None else point.dist.name
    return f"{point.value} of {distribution}"
