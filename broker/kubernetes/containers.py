"""What a ContainerSource is in a cluster: a Deployment, as Knative makes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.connections.kubernetes.collections import Object

KIND: Final = "ContainerSource"
HASH: Final = "cemesh.dev/template-hash"

OURS: Final = {"app.kubernetes.io/managed-by": "cemesh"}
"""The label by which the mesh finds what it has made."""

_LONGEST: Final = 63
"""Characters of a label's value. The name of a source may have more."""

_BROKER_GROUP: Final = "eventing.knative.dev/"
_BROKER_URL: Final = "broker://"


def broker_of(found: Object) -> str | None:
    """Return the key of the broker that a source says it emits into, or None where it is none."""
    sink = _part(found, "spec", "sink")
    ref, uri = sink.get("ref"), sink.get("uri")
    if not isinstance(ref, dict):
        return _after(uri, _BROKER_URL) if isinstance(uri, str) else None
    is_broker = ref.get("kind") == "Broker" and uri is None
    if not is_broker or not str(ref.get("apiVersion")).startswith(_BROKER_GROUP):
        return None
    return f"{ref.get('namespace') or found['metadata']['namespace']}/{ref.get('name')}"


def _after(text: str, prefix: str) -> str | None:
    rest = text.removeprefix(prefix)
    return None if rest == text else rest


def deployment_name(source: str) -> str:
    """Return the name of the Deployment of the source of that name."""
    return _short(source, "-deployment")


def deployment_of(found: Object, sink: str, ca_certs: str | None) -> Object:
    """Return the Deployment of a source whose events go to the URL ``sink``.

    It has a hash of what it asks for, as the API server adds defaults to that.
    """
    meta = found["metadata"]
    labels = {
        "sources.knative.dev/source": "container-source-controller",
        "sources.knative.dev/containerSource": _short(meta["name"], ""),
    }
    template = _part(found, "spec", "template")
    template_meta = _part(template, "metadata")
    overrides = {"extensions": {}, **_part(found, "spec", "ceOverrides")}
    given = {"K_SINK": sink, "K_CE_OVERRIDES": json.dumps(overrides)}
    if ca_certs is not None and sink.startswith("https:"):
        given["K_CA_CERTS"] = ca_certs
    defaults = {"NAMESPACE": meta["namespace"], "NAME": meta["name"]}
    pod = dict(_part(template, "spec"))
    for each in ("containers", "initContainers"):
        if isinstance(pod.get(each), list):
            pod[each] = [_with_env(container, defaults, given) for container in pod[each]]
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        # Two at a time would both emit everything.
        "strategy": {"type": "Recreate"},
        "template": {
            "metadata": {**template_meta, "labels": {**_part(template_meta, "labels"), **labels}},
            "spec": pod,
        },
    }
    written = json.dumps(spec, sort_keys=True).encode()
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": deployment_name(meta["name"]),
            "namespace": meta["namespace"],
            "labels": {**labels, **OURS},
            "annotations": {HASH: hashlib.sha256(written).hexdigest()},
            "ownerReferences": [
                {
                    "apiVersion": found["apiVersion"],
                    "kind": KIND,
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def _with_env(container: object, defaults: Mapping[str, str], given: Mapping[str, str]) -> object:
    """Return the container with ``defaults`` before its own variables, and ``given`` over them.

    A value can refer to what stands before it: so all of ours do, as they do on a laptop.
    """
    if not isinstance(container, dict):
        return container  # the API server says what is wrong
    env = container.get("env")
    own = [each for each in env if _name(each) not in given] if isinstance(env, list) else []
    named = {_name(each) for each in own}
    ours = {name: value for name, value in defaults.items() if name not in named}
    return {**container, "env": [*_variables({**ours, **given}), *own]}


def _variables(values: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _name(variable: object) -> object:
    return variable.get("name") if isinstance(variable, dict) else None


def _part(value: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping that stands there, or none at all."""
    for each in path:
        value = value.get(each) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _short(name: str, suffix: str) -> str:
    """Return the name with that suffix: with a hash in place of its end, where it is too long."""
    if len(name) + len(suffix) <= _LONGEST:
        return f"{name}{suffix}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST - len(suffix) - len(digest) - 1].rstrip('.-')}-{digest}{suffix}"
