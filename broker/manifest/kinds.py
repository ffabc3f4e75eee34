"""Which kinds of object the mesh runs, which it leaves to Kubernetes, which it has not got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker import plugins
from broker.errors import did_you_mean
from broker.manifest.objects import Place

SOURCES: Final = "sources.knative.dev/v1"
TESTS: Final = "cemesh.dev/v1alpha1"
TEST_KIND: Final = "TriggerTest"

_BUILT_IN: Final[Mapping[str, str]] = {
    "Broker": "eventing.knative.dev/v1",
    "Trigger": "eventing.knative.dev/v1",
    "RabbitmqBrokerConfig": "eventing.knative.dev/v1alpha1",
    "DeliveryPolicy": "cemesh.dev/v1alpha1",
    "ConfigMap": "v1",
    "Secret": "v1",
}

# Knative's kinds that have no meaning here yet. To overlook one would lose what it does.
_NOT_YET: Final = frozenset(
    {
        "ApiServerSource", "Channel", "ContainerSource", "EventPolicy", "EventTransform",
        "EventType", "InMemoryChannel", "IntegrationSink", "IntegrationSource", "JobSink",
        "KafkaChannel", "KafkaSink", "KafkaSource", "Parallel", "PingSource", "RabbitmqSource",
        "RequestReply", "Sequence", "SinkBinding", "Subscription",
    }
)  # fmt: skip

_OURS: Final = ("knative.dev", "cemesh.dev")
# Programs and installations: they are deployed by Kubernetes, and only talked to by the mesh.
_DEPLOYED: Final = frozenset({"serving.knative.dev", "operator.knative.dev"})


def is_run(place: Place) -> bool:
    """Return whether the mesh runs the object at ``place``; if not, say why, as a problem.

    An object of Kubernetes' own is skipped with a warning: it stands beside the mesh's in
    the same files. One that was meant for the mesh and cannot be run is an error.
    """
    api_version, kind = place.object.api_version, place.object.kind
    if _BUILT_IN.get(kind) == api_version:
        return True
    if api_version == SOURCES and kind in plugins.source_kinds():
        return True
    fault = _fault(api_version, kind)
    if fault is None:
        place.warn(f"{api_version} {kind} is skipped: it is not the mesh's to run")
        return False
    field, message = fault
    place.at(field).error(message)
    return False


def is_tested(place: Place) -> bool:
    """Return whether the object at ``place`` is one of tests; if not, say so, as a problem."""
    api_version, kind = place.object.api_version, place.object.kind
    if (api_version, kind) == (TESTS, TEST_KIND):
        return True
    if kind == TEST_KIND:
        place.at("apiVersion").error(f"'{api_version}' of {kind} is not supported; use {TESTS}")
    else:
        hint = did_you_mean(kind, [TEST_KIND])
        place.at("kind").error(f"only a {TEST_KIND} can stand in a file of tests{hint}")
    return False


def _fault(api_version: str, kind: str) -> tuple[str, str] | None:
    """Return the field at fault and what is wrong, or None where the object is not ours."""
    group = api_version.rpartition("/")[0]
    wanted = _BUILT_IN.get(kind) or (SOURCES if kind in plugins.source_kinds() else None)
    if not _is_ours(group):
        # `eventing.knative.dv/v1` is a slip of the pen, `rabbitmq.com/v1beta1` is not.
        if wanted is None or not did_you_mean(api_version, [wanted]):
            return None
        return "apiVersion", f"unknown apiVersion '{api_version}' (did you mean '{wanted}'?)"
    if wanted is not None:
        return "apiVersion", f"'{api_version}' of {kind} is not supported; use {wanted}"
    if kind == TEST_KIND:
        return "kind", (
            f"a {kind} is not run by the mesh but by `cemesh test`; it belongs in a file whose "
            "name ends with _test.yaml"
        )
    if kind in _NOT_YET:
        return "kind", f"{kind} is not supported yet"
    known = [*_BUILT_IN, *plugins.source_kinds()]
    return "kind", f"unknown kind '{kind}'{did_you_mean(kind, [*known, *_NOT_YET])}"


def _is_ours(group: str) -> bool:
    if group in _DEPLOYED:
        return False
    return any(group == domain or group.endswith(f".{domain}") for domain in _OURS)
