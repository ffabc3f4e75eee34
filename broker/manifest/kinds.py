"""Which kinds of object the mesh runs, which it leaves to Kubernetes, which it has not got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from broker import plugins
from broker.errors import PluginNotFound, did_you_mean
from broker.manifest.objects import Place

SOURCE_KIND: Final = "Source"
SINK_KIND: Final = "Sink"
"""A source or sink by ``spec.class``, which need not be installed."""

BINDING_KIND: Final = "SinkBinding"
"""What `cemesh bind` reads; nothing runs for it."""

TESTS: Final = "cemesh.dev/v1alpha1"
TEST_KIND: Final = "TriggerTest"

_BUILT_IN: Final[Mapping[str, str]] = {
    "Broker": "eventing.knative.dev/v1",
    "Trigger": "eventing.knative.dev/v1",
    "RabbitmqBrokerConfig": "eventing.knative.dev/v1alpha1",
    "DeliveryPolicy": "cemesh.dev/v1alpha1",
    SOURCE_KIND: "cemesh.dev/v1alpha1",
    SINK_KIND: "cemesh.dev/v1alpha1",
    BINDING_KIND: "sources.knative.dev/v1",
    "ConfigMap": "v1",
    "Secret": "v1",
}

# Knative's kinds that have no meaning here yet. To overlook one would lose what it does.
_NOT_YET: Final = frozenset(
    {
        "ApiServerSource", "Channel", "ContainerSource", "EventPolicy", "EventTransform",
        "EventType", "InMemoryChannel", "IntegrationSink", "IntegrationSource", "JobSink",
        "KafkaChannel", "KafkaSink", "KafkaSource", "Parallel", "PingSource", "RabbitmqSource",
        "RequestReply", "Sequence", "Subscription",
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
    try:
        wanted = wanted_versions(kind)
    except PluginNotFound as error:
        place.at("kind").error(str(error))
        return False
    if api_version in wanted:
        return True
    fault = _fault(api_version, kind, wanted)
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


def is_source(kind: str) -> bool:
    """Return whether that is a kind of source."""
    return kind == SOURCE_KIND or kind in plugins.source_kinds()


def is_sink(kind: str) -> bool:
    """Return whether that is a kind of sink."""
    return kind == SINK_KIND or kind in plugins.sink_kinds()


def wanted_versions(kind: str) -> Sequence[str]:
    """Return the apiVersions in which the mesh runs that kind. Raises `PluginNotFound`."""
    built_in = _BUILT_IN.get(kind)
    if built_in is not None:
        return (built_in,)
    if kind in plugins.source_kinds():
        return plugins.source(kind).api_versions
    return plugins.sink(kind).api_versions if kind in plugins.sink_kinds() else ()


def kinds_of_clusters() -> Mapping[str, Sequence[str]]:
    """Return the apiVersions of each kind that a mesh runs whose objects are in a cluster.

    What they refer to is not among them, nor what `cemesh bind` is for. Imports all sources and
    sinks; one that cannot be used is left out.
    """
    own = [kind for kind in _BUILT_IN if kind not in (BINDING_KIND, "ConfigMap", "Secret")]
    found: dict[str, Sequence[str]] = {}
    for kind in [*own, *sorted(plugins.source_kinds()), *sorted(plugins.sink_kinds())]:
        with suppress(PluginNotFound):
            found[kind] = wanted_versions(kind)
    return found


def _fault(api_version: str, kind: str, wanted: Sequence[str]) -> tuple[str, str] | None:
    """Return the field at fault and what is wrong, or None where the object is not ours."""
    group = api_version.rpartition("/")[0]
    if not _is_ours(group):
        # `eventing.knative.dv/v1` is a slip of the pen, `rabbitmq.com/v1beta1` is not.
        hint = did_you_mean(api_version, wanted)
        return ("apiVersion", f"unknown apiVersion '{api_version}'{hint}") if hint else None
    if wanted:
        named = " or ".join(wanted)
        return "apiVersion", f"'{api_version}' of {kind} is not supported; use {named}"
    if kind == TEST_KIND:
        return "kind", (
            f"a {kind} is not run by the mesh but by `cemesh test`; it belongs in a file whose "
            "name ends with _test.yaml"
        )
    if kind in _NOT_YET:
        return "kind", f"{kind} is not supported yet"
    known = [*_BUILT_IN, *plugins.source_kinds(), *plugins.sink_kinds()]
    return "kind", f"unknown kind '{kind}'{did_you_mean(kind, [*known, *_NOT_YET])}"


def _is_ours(group: str) -> bool:
    if group in _DEPLOYED:
        return False
    return any(group == domain or group.endswith(f".{domain}") for domain in _OURS)
