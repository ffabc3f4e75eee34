"""Tells which brokers of a cluster are this mesh's, where others run some of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from broker.manifest.annotations import BROKER_CLASS
from broker.manifest.objects import Object
from broker.manifest.yamltree import Json

_KNATIVES_DEFAULT: Final = "MTChannelBasedBroker"
"""The class of a Broker that names none."""


def ours(
    of_files: Iterable[Object], found: Iterable[Object], classes: Collection[str]
) -> Sequence[Object]:
    """Return what of ``found`` is the mesh's, which runs brokers of these ``classes`` alone.

    That is all but brokers of other classes, and triggers of these, or of brokers that are not
    there: whose they are is not known. Those ``of_files`` are the mesh's own, of whatever class.
    """
    objects = list(found)
    if not classes:
        return objects
    brokers = {each.key for each in of_files if each.kind == "Broker"}
    brokers |= {each.key for each in objects if each.kind == "Broker" and _class(each) in classes}
    return [
        each
        for each in objects
        if (each.kind != "Broker" or each.key in brokers)
        and (each.kind != "Trigger" or _broker_of(each) in brokers)
    ]


def _class(broker: Object) -> Json:
    annotations = _mapping(_mapping(broker.value.get("metadata")).get("annotations"))
    return annotations.get(BROKER_CLASS, _KNATIVES_DEFAULT)


def _broker_of(trigger: Object) -> str:
    return f"{trigger.namespace}/{_mapping(trigger.value.get('spec')).get('broker')}"


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
