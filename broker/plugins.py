"""Finds the channels, sinks and sources that are installed, ours and everybody else's.

A plug-in is an entry point: of the group ``cemesh.channels``, named by its URL scheme; of
``cemesh.sources``, named by its kind; or of ``cemesh.sinks``, named by either. What is installed
is known without importing anything; a plug-in is imported when it is first asked for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Literal, cast

from broker.errors import PluginNotFound, did_you_mean
from broker.ports import Backend, ProvingSinks, Sinks
from broker.sinkplugin import SinkPlugin, sink_plugin
from broker.sourceplugin import SourcePlugin, source_plugin

_PLACE: Final = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")

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


def source(kind: str) -> SourcePlugin:
    """Return the source of that kind, or raise `PluginNotFound`."""
    return _source(_load("source", "kind", kind), f"the source '{kind}'")


def source_of(kind: str, at: str | None) -> SourcePlugin:
    """Return the source ``at`` that place, or else of that kind; raises `PluginNotFound`."""
    return source(kind) if at is None else _source(_at(at, "source"), at)


@cache
def _source(loaded: object, origin: str) -> SourcePlugin:
    return source_plugin(loaded, origin)


def sink(kind: str) -> SinkPlugin:
    """Return the sink of that kind, or raise `PluginNotFound`."""
    return _sink(_load("sink", "kind", kind), f"the sink '{kind}'")


def sink_of(kind: str, at: str | None) -> SinkPlugin:
    """Return the sink ``at`` that place, or else of that kind; raises `PluginNotFound`."""
    return sink(kind) if at is None else _sink(_at(at, "sink"), at)


@cache
def _sink(loaded: object, origin: str) -> SinkPlugin:
    return sink_plugin(loaded, origin)


def channel_schemes() -> frozenset[str]:
    """Return the URL schemes that channels are installed for."""
    return frozenset(_installed("channel", tuple(sys.path)))


def sink_schemes() -> frozenset[str]:
    """Return the URL schemes that an event can be sent to, ``broker`` among them."""
    names = _installed("sink", tuple(sys.path))
    return frozenset(name for name in names if not _is_kind(name)) | {BROKER_SCHEME}


def sink_kinds() -> frozenset[str]:
    """Return the kinds of sink that are installed."""
    return frozenset(filter(_is_kind, _installed("sink", tuple(sys.path))))


def _is_kind(name: str) -> bool:
    """Return whether a plug-in of that name is one of a kind, such as KafkaSink, or of a scheme."""
    return name[:1].isupper()


def source_kinds() -> frozenset[str]:
    """Return the kinds of source that are installed."""
    return frozenset(_installed("source", tuple(sys.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A plug-in that is installed, by ``origin``, its package.

    ``loaded`` is it, or None where it cannot be used: ``fault`` says why.
    """

    name: str
    origin: str
    loaded: object
    fault: str | None


def installed(what: Literal["channel", "sink", "source"]) -> Sequence[Installed]:
    """Return all plug-ins of that sort; imports all of them."""
    by = {"channel": "scheme", "sink": "scheme", "source": "kind"}[what]
    found = []
    for name, points in _installed(what, tuple(sys.path)).items():
        loaded, fault = None, None
        try:
            loaded = _load(what, by, name)
            if what == "source":
                source(name)
            elif what == "sink" and _is_kind(name):
                sink(name)
        except PluginNotFound as error:
            fault = str(error)
        packages = sorted({"?" if each.dist is None else each.dist.name for each in points})
        found.append(Installed(name=name, origin=", ".join(packages), loaded=loaded, fault=fault))
    return found


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
            alike = sorted(each for each in installed if _is_kind(each) == (by == "kind"))
            known = ", ".join(alike) or "none"
            raise PluginNotFound(
                f"no {what} is installed for the {by} '{name}'"
                f"{did_you_mean(name, alike)}; installed: {known}"
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
            f"{type(error).__name__}: {error}{_remedy(point, error)}"
        ) from error
    return loaded


def _at(place: str, what: str) -> object:
    """Return what is at ``module:Name``, or raise `PluginNotFound`."""
    if not _PLACE.fullmatch(place):
        raise PluginNotFound(f"'{place}' is not of the form module:Name")
    point = EntryPoint(name=place, value=place, group=f"cemesh.{what}s")
    try:
        loaded: object = point.load()
    except Exception as error:  # a stranger's module may raise anything when it is imported
        where = "in the folder that cemesh was started in, or installed"
        hint = f" (is it {where}?)" if isinstance(error, ModuleNotFoundError) else ""
        raise PluginNotFound(
            f"{point.value} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error
    return loaded


def _remedy(point: EntryPoint, error: Exception) -> str:
    """Return how to install what is missing, where the entry point names its extra."""
    if not (isinstance(error, ModuleNotFoundError) and point.extras and point.dist):
        return ""
    return f"; install it: pip install '{point.dist.name}[{','.join(point.extras)}]'"


def _origin(point: EntryPoint) -> str:
    distribution = "an unknown distribution" if point.dist is None else point.dist.name
    return f"{point.value} of {distribution}"
