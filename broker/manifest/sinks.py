"""Turns the objects that are sinks into destinations."""

from __future__ import annotations

from broker import plugins
from broker.manifest.credentials import SecretReader
from broker.manifest.kinds import SINK_KIND
from broker.manifest.objects import Place
from broker.manifest.ownspecs import own_spec
from broker.manifest.reading import read_object
from broker.manifest.shapes import KubernetesObject
from broker.trigger import SinkObject


class _SinkObject(KubernetesObject):
    """A sink, of whose ``spec`` all is its plug-in's."""

    spec: object = None


def sink(place: Place, secrets: SecretReader) -> SinkObject | None:
    """Return the sink that the object at ``place`` describes, or None; report what is wrong."""
    shape = read_object(_SinkObject, place)
    value = place.object.value.get("spec")
    if value is not None and not isinstance(value, dict):
        place.at("spec").error("must be a mapping")
        return None
    found = own_spec(value or {}, place, secrets, find=plugins.sink_of, by_class=SINK_KIND)
    if shape is None or found is None:
        return None
    return SinkObject(kind=place.object.kind, key=place.object.key, spec=found.spec, at=found.at)
