"""The CustomResourceDefinition of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from broker import plugins
from broker.manifest.kinds import SINK_KIND, SOURCE_KIND
from broker.manifest.policyshapes import DeliveryPolicySpec
from broker.manifest.rabbitmq import RabbitmqBrokerConfigSpec
from broker.manifest.shapes import BrokerSpec, SourceSpec, TriggerSpec
from broker.sinkplugin import SinkPlugin
from broker.sourceplugin import SourcePlugin
from charts.crds.kinds import Kind
from charts.crds.models import json_schema
from charts.crds.pages import said_of, said_of_fields
from charts.crds.statuses import status
from charts.crds.structural import OPEN, Schema, structural

_SPECS: Final[Mapping[str, type[BaseModel]]] = {
    "Broker": BrokerSpec,
    "Trigger": TriggerSpec,
    "RabbitmqBrokerConfig": RabbitmqBrokerConfigSpec,
    "DeliveryPolicy": DeliveryPolicySpec,
}
_BY_CLASS: Final[Schema] = {
    "type": "object",
    "required": ["class"],
    "properties": {
        "class": {"type": "string", "description": "Where it is: MODULE:NAME. The rest is its own."}
    },
    OPEN: True,
}


def definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of that kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.definition,
            "labels": {
                "app.kubernetes.io/name": "cemesh",
                "app.kubernetes.io/part-of": "cemesh",
                **{f"duck.knative.dev/{each}": "true" for each in kind.ducks},
            },
        },
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural_name,
                "singular": kind.singular,
                **({"shortNames": list(kind.short_names)} if kind.short_names else {}),
                "categories": list(kind.categories),
            },
            "versions": [
                {"name": name, "served": True, "storage": number == 0, **_version(kind)}
                for number, name in enumerate(kind.versions)
            ],
        },
    }


def _version(kind: Kind) -> dict[str, Any]:
    return {
        "schema": {"openAPIV3Schema": _schema(kind)},
        **({"subresources": {"status": {}}} if kind.has_status else {}),
        "additionalPrinterColumns": [
            {"name": each.name, "type": each.type, "jsonPath": each.path} for each in kind.columns
        ],
    }


def _schema(kind: Kind) -> Schema:
    spec = _spec(kind)
    for path, text in said_of_fields(kind).items():
        _describe(spec, path, text)
    return {
        "type": "object",
        "description": said_of(kind),
        **({"required": ["spec"]} if "required" in spec else {}),
        "properties": {"spec": spec, **({"status": status(kind)} if kind.has_status else {})},
        OPEN: True,
    }


def _spec(kind: Kind) -> Schema:
    if kind.kind in _SPECS:
        return structural(json_schema(_SPECS[kind.kind]))
    match kind.sort:
        case "source":
            own = _BY_CLASS if kind.kind == SOURCE_KIND else _of_plugin(plugins.source(kind.kind))
            common = structural(json_schema(SourceSpec))
            return {**own, "properties": {**common["properties"], **own["properties"]}}
        case "sink":
            return _BY_CLASS if kind.kind == SINK_KIND else _of_plugin(plugins.sink(kind.kind))
    raise AssertionError(f"{kind.kind} has no spec")


def _of_plugin(plugin: SourcePlugin | SinkPlugin) -> Schema:
    if plugin.model is None:
        return {"type": "object", "properties": {}, OPEN: True}
    return structural(json_schema(plugin.model))


def _describe(spec: Schema, path: Sequence[str], text: str) -> None:
    """Say ``text`` of the field that ``path`` leads to, unless there is none, or more is said."""
    found: Any = spec
    for name in path:
        found = found.get("properties", {}).get(name)
        if found is None:
            return
    found["description"] = text
