"""Turns the objects that are sources into the sources to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker import plugins
from broker.errors import InvalidEvent
from broker.event import check_attributes
from broker.manifest.credentials import SecretReader
from broker.manifest.destinations import Directory, target
from broker.manifest.kinds import SOURCE_KIND
from broker.manifest.objects import Place
from broker.manifest.ownspecs import own_spec
from broker.manifest.reading import read_object, required
from broker.manifest.shapes import SourceObject
from broker.manifest.yamltree import Json
from broker.trigger import Source

_COMMON: Final = ("sink", "ceOverrides")

# An event that is valid, to be tried on with the extensions of a manifest.
_MINIMAL: Final[Mapping[str, str]] = {"specversion": "1.0", "id": "1", "source": "/", "type": "t"}
_STANDARD: Final = frozenset(
    {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema"}
)


def source(place: Place, directory: Directory, secrets: SecretReader) -> Source | None:
    """Return the source that the object at ``place`` asks for, or None; report what is wrong."""
    common, own = _split(place.object.value)
    shape = read_object(SourceObject, place, common)
    found = None
    if place.object.kind not in directory.elsewhere.deployed:  # else the cluster knows that better
        found = own_spec(
            own, place, secrets, find=plugins.source_of, by_class=SOURCE_KIND, common=_COMMON
        )
    if shape is None:
        return None
    extensions = shape.spec.ce_overrides.extensions
    check_extensions(extensions, place.at("spec", "ceOverrides", "extensions"))
    broker = _broker(shape, place.at("spec", "sink"), directory)
    if broker is None or found is None:
        return None
    return Source(
        kind=place.object.kind,
        key=place.object.key,
        broker=broker,
        spec=found.spec,
        at=found.at,
        extensions=extensions,
        receives=plugins.source_of(place.object.kind, found.at).receives,
    )


def _split(value: dict[str, Json]) -> tuple[Json, dict[str, Json]]:
    """Return the object with only the common fields in its spec, and the spec without them."""
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return value, {}
    common = {name: each for name, each in spec.items() if name in _COMMON}
    own = {name: each for name, each in spec.items() if name not in _COMMON}
    return {**value, "spec": common}, own


def _broker(shape: SourceObject, place: Place, directory: Directory) -> str | None:
    """Return the key of the broker that the source emits into."""
    destination = required(shape.spec.sink, place)
    sink = None if destination is None else target(destination, place, directory)
    if sink is None:
        return None
    if not sink.url.startswith("broker://"):
        place.error(f"a source emits into a Broker of {place.report.where}; {sink.url} is none")
        return None
    return sink.url.removeprefix("broker://")


def check_extensions(extensions: Mapping[str, str], place: Place) -> None:
    """Report at ``place`` each extension that no event could have."""
    for name, value in extensions.items():
        if name in _STANDARD:
            place.at(name).error("is an attribute of every event, not an extension")
            continue
        try:
            check_attributes({**_MINIMAL, name: value})
        except InvalidEvent as error:
            place.at(name).error(error.detail)
