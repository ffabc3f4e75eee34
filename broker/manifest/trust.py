"""What objects of a cluster may not ask of a mesh, unless whoever runs it trusts their authors.

They are written by people who have no rights in the mesh's own pod, nor those that it has in the
cluster. What is in files is the operator's, and may ask for all that a manifest can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.manifest.kinds import SINK_KIND, SOURCE_KIND
from broker.manifest.objects import Place
from broker.trigger import SECRET_NAMESPACE

_UNLESS: Final = (
    "which objects of a cluster may not, unless the mesh is started with --kubernetes-trust"
)
_FILES: Final = "reaches the files of the mesh's own pod"

_KINDS: Final[Mapping[str, str]] = {
    SOURCE_KIND: "runs code in the mesh itself",
    SINK_KIND: "runs code in the mesh itself",
    "JobSink": "runs a command in the mesh's own pod",
    "FileSource": _FILES,
    "DirectorySource": _FILES,
    "FileSink": _FILES,
    "ApiServerSource": "reads the cluster with the mesh's own rights, Secrets among it",
}


def distrust(place: Place) -> None:
    """Report at the object of a cluster what it asks for and may not."""
    kind = place.object.kind
    if kind in _KINDS:
        place.at("kind").error(f"{_KINDS[kind]}, {_UNLESS}")
    elif kind == "DeliveryPolicy":
        loc = ("spec", "credentials", "tokenFile")
        if _at(place.object.value, loc) is not None:
            place.at(*loc).error(f"{_FILES}, {_UNLESS}")
    elif kind == "ConfigMap":
        _refuse_others(place, ("data", SECRET_NAMESPACE))
    elif kind == "RabbitmqBrokerConfig":
        _refuse_others(place, ("spec", "rabbitmqClusterReference", "namespace"))


def _refuse_others(place: Place, loc: tuple[str, ...]) -> None:
    """Report a namespace other than the object's own: its Secrets would be sent to any server."""
    namespace = _at(place.object.value, loc)
    if namespace is not None and namespace != place.object.namespace:
        place.at(*loc).error(f"takes a Secret out of another namespace, {_UNLESS}")


def _at(value: Any, loc: tuple[str, ...]) -> Any:  # noqa: ANN401 - of JSON that nobody has read
    for name in loc:
        value = value.get(name) if isinstance(value, dict) else None
    return value
