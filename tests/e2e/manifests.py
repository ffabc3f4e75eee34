"""Manifests, written as the tests need them, and events to send.

    manifest(broker(), trigger("orders", "http://127.0.0.1:9000/", retry=2, type="order"))

Every document is JSON, which is YAML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from broker.event import Event

ORDER = "kafka.eventing.knative.dev/delivery.order"
DELIVERY_POLICY = "cemesh.dev/delivery-policy"
PARALLELISM = "rabbitmq.eventing.knative.dev/parallelism"


def manifest(*documents: str) -> str:
    """Return one file of these documents."""
    return "\n---\n".join(documents)


def broker(name: str = "default") -> str:
    return _document("Broker", name, {}, {})


def trigger(
    name: str,
    subscriber: str,
    *,
    broker: str = "default",
    retry: int = 10,
    backoff: str = "PT0.05S",
    policy: str = "linear",
    timeout: str = "PT30S",
    dead_letter: str | None = None,
    type: str | None = None,
    parallelism: int | None = None,
    ordered: bool = False,
    pauses: bool = True,
) -> str:
    """Return a trigger; ``type``, if given, is its filter.

    One that does not pause when its subscriber fails needs `steady` beside it.
    """
    delivery: dict[str, object] = {
        "retry": retry,
        "backoffPolicy": policy,
        "backoffDelay": backoff,
        "timeout": timeout,
    }
    if dead_letter is not None:
        delivery["deadLetterSink"] = {"uri": dead_letter}
    spec: dict[str, object] = {
        "broker": broker,
        "subscriber": {"uri": subscriber},
        "delivery": delivery,
    }
    if type is not None:
        spec["filters"] = [{"exact": {"type": type}}]
    annotations = {} if parallelism is None else {PARALLELISM: str(parallelism)}
    if ordered:
        annotations[ORDER] = "ordered"
    if not pauses:
        annotations[DELIVERY_POLICY] = "steady"
    return _document("Trigger", name, spec, annotations)


def steady() -> str:
    """Return the policy of triggers that do not pause when their subscribers fail."""
    spec = {"breaker": {"enabled": False}}
    return _document("DeliveryPolicy", "steady", spec, {}, version="cemesh.dev/v1alpha1")


def trigger_to_broker(name: str, *, broker: str, to: str) -> str:
    """Return a trigger whose subscriber is the broker ``to``."""
    reference = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": to}
    return _document("Trigger", name, {"broker": broker, "subscriber": {"ref": reference}}, {})


def _document(
    kind: str,
    name: str,
    spec: Mapping[str, object],
    annotations: Mapping[str, str],
    *,
    version: str = "eventing.knative.dev/v1",
) -> str:
    return json.dumps(
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "annotations": annotations},
            "spec": spec,
        }
    )


def event(id: str, *, type: str = "com.example.thing", data: bytes | None = b"{}") -> Event:
    return Event(
        {
            "specversion": "1.0",
            "id": id,
            "source": "/tests",
            "type": type,
            "datacontenttype": "application/json",
        },
        data,
    )
