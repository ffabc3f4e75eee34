"""The event that tells what has become of an object."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.metadata import Meta, meta_of
from broker.event import Event
from broker.formats import is_time
from sources.apiserver.spec import ObjectType

Fate = Literal["add", "update", "delete"]
Mode = Literal["Reference", "Resource"]

_PART: Final = {"Reference": "ref", "Resource": "resource"}


def is_owned(found: Object, owner: ObjectType) -> bool:
    """Return whether what controls the object is of that type, or the object itself is."""
    if (found["apiVersion"], found["kind"]) == (owner.api_version, owner.kind):
        return True
    return any(
        each.controller and (each.api_version, each.kind) == (owner.api_version, owner.kind)
        for each in meta_of(found).owner_references
    )


def remains(meta: Meta, of: Collection) -> Object:
    """Return what is known of an object that is no more."""
    known = {
        "name": meta.name,
        "namespace": meta.namespace,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }
    return {
        "kind": of.kind,
        "apiVersion": of.api_version,
        "metadata": {name: text for name, text in known.items() if text},
    }


def event_id(fate: Fate, meta: Meta) -> str:
    """Return the id of that event: the same whenever it is told again."""
    return f"{meta.key}/{meta.resource_version}/{fate}"


def event_of(fate: Fate, found: Object, of: Collection, *, server: str, mode: Mode) -> Event:
    """Return the event, in Knative's words; raises `InvalidEvent` where it can be none."""
    meta = meta_of(found)
    kind, api_version = str(found["kind"]), str(found["apiVersion"])
    within = f"/namespaces/{meta.namespace}" if meta.namespace else ""
    attributes = {
        "specversion": "1.0",
        "id": event_id(fate, meta),
        "source": server,
        "type": f"dev.knative.apiserver.{_PART[mode]}.{fate}",
        "subject": f"/apis/{api_version}{within}/{of.plural}/{meta.name}",
        "datacontenttype": "application/json",
        "apiversion": api_version,
        "kind": kind,
        "name": meta.name,
    }
    if meta.namespace:
        attributes["namespace"] = meta.namespace
    if fate == "add" and meta.creation_timestamp and is_time(meta.creation_timestamp):
        attributes["time"] = meta.creation_timestamp
    data = found
    if mode == "Reference":
        reference = {"kind": kind, "namespace": meta.namespace, "name": meta.name}
        data = {**{n: v for n, v in reference.items() if v}, "apiVersion": api_version}
    return Event.checked(attributes, msgspec.json.encode(data))
