"""The kinds of the mesh on a real API server: what it takes, keeps, shows and refuses."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from broker.errors import InvalidManifest
from broker.manifest import load
from charts.crds.kinds import KINDS
from tests.chart.definitions import Judge, Object, define, is_true, kind_of, until, written
from tests.services.kubernetes.client import Kubernetes

WRITTEN = [*written()]

TRIGGER: Object = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "audit"},
    "spec": {"broker": "orders", "subscriber": {"uri": "http://audit.example"}},
}
READY = {"type": "Ready", "status": "False", "reason": "BrokerNotFound", "message": "no Broker"}

DELETED = "deleted"
INSTEAD: Final[tuple[object, ...]] = (5, "text", [], DELETED)


@pytest.fixture(scope="module")
def definitions(kubernetes: Kubernetes) -> Mapping[str, Object]:
    return define(kubernetes)


@pytest.fixture(scope="module")
def judge(kubernetes: Kubernetes, definitions: Mapping[str, Object]) -> Iterator[Judge]:
    assert definitions
    judge = Judge(kubernetes)
    yield judge
    judge.close()


def test_a_server_takes_every_definition(definitions: Mapping[str, Object]) -> None:
    assert {*definitions} == {kind.definition for kind in KINDS}
    for each in definitions.values():
        assert is_true(each, "NamesAccepted")
        assert not is_true(each, "NonStructuralSchema")


def test_the_manifests_that_people_are_shown_are_taken(judge: Judge) -> None:
    refused = {where: judge.refusal(each) for where, each in WRITTEN}

    assert {where: why for where, why in refused.items() if why} == {}
    assert {kind_of(each) for _, each in WRITTEN} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_what_a_server_refuses_the_mesh_refuses_too(
    judge: Judge, kind: object, tmp_path: Path
) -> None:
    file = tmp_path / "object.json"
    whole = max(
        (each for _, each in WRITTEN if kind_of(each) == kind), key=lambda each: len(str(each))
    )
    known = problems(whole, file)
    refused = [each for each in changed(whole) if judge.refusal(each)]

    for each in refused:
        assert problems(each, file) - known, each
    assert refused


def test_what_a_kind_does_not_know_is_kept_and_told(
    kubernetes: Kubernetes, judge: Judge, tmp_path: Path
) -> None:
    namespace = kubernetes.namespace()
    spec = {**TRIGGER["spec"], "filters": [{"excat": {"type": "t"}}], "delivery": {"retries": 3}}

    kept = kubernetes.create({**TRIGGER, "spec": spec}, namespace)

    assert kept["spec"] == spec
    assert {
        (path, why) for path, why in problems(kept, tmp_path / "kept.yaml") if "mean" in why
    } == {
        ("spec.filters[0].excat", "unknown field (did you mean 'exact'?)"),
        ("spec.delivery.retries", "unknown field (did you mean 'retry'?)"),
    }


def test_null_is_as_good_as_absent(kubernetes: Kubernetes, judge: Judge) -> None:
    delivery = {"retry": None, "backoffPolicy": None, "deadLetterSink": None, "timeout": "PT1S"}
    spec = {**TRIGGER["spec"], "filters": None, "delivery": delivery}

    kept = kubernetes.create({**TRIGGER, "spec": spec}, kubernetes.namespace())

    assert kept["spec"] == {**TRIGGER["spec"], "delivery": {"timeout": "PT1S"}}


def test_filters_nest_as_deeply_as_they_like(kubernetes: Kubernetes, judge: Judge) -> None:
    filters: list[Object] = [{"exact": {"type": "t"}}]
    for _ in range(9):
        filters = [{"all": filters}, {"any": [{"not": filters[0]}]}]

    kept = kubernetes.create(
        {**TRIGGER, "spec": {**TRIGGER["spec"], "filters": filters}}, kubernetes.namespace()
    )

    assert kept["spec"]["filters"] == filters


def test_a_status_is_written_apart_and_shown(kubernetes: Kubernetes, judge: Judge) -> None:
    namespace = kubernetes.namespace()
    made = kubernetes.create({**TRIGGER, "status": {"conditions": [READY]}}, namespace)
    status = {
        "conditions": [READY],
        "observedGeneration": made["metadata"]["generation"],
        "subscriberUri": "http://audit.example",
    }

    told = kubernetes.patch(
        "Trigger",
        "audit",
        namespace,
        {"status": status, "spec": {"broker": "other"}},
        api_version=TRIGGER["apiVersion"],
        subresource="status",
    )

    assert "status" not in made
    assert (told["spec"], told["status"]) == (TRIGGER["spec"], status)
    assert told["metadata"]["generation"] == made["metadata"]["generation"]
    [kind] = [each for each in KINDS if each.kind == "Trigger"]
    [shown] = judge.columns(kind, namespace)
    assert [*shown.items()][:2] == [("Name", "audit"), ("Broker", "orders")]
    assert shown["Subscriber_URI"] == "http://audit.example"
    assert (shown["Ready"], shown["Reason"]) == ("False", "BrokerNotFound")


def test_all_versions_of_a_kind_are_the_same_objects(kubernetes: Kubernetes, judge: Judge) -> None:
    namespace = kubernetes.namespace()
    older = {
        "apiVersion": "sources.knative.dev/v1beta1",
        "kind": "KafkaSource",
        "metadata": {"name": "orders"},
        "spec": {"bootstrapServers": ["kafka:9092"], "topics": ["orders"]},
    }
    kubernetes.create(older, namespace)

    read = kubernetes.get("KafkaSource", "orders", namespace, api_version="sources.knative.dev/v1")

    assert read is not None
    assert read["spec"] == older["spec"]


def test_a_category_has_the_kinds_that_knative_puts_there(
    kubernetes: Kubernetes, judge: Judge
) -> None:
    sources = {kind.definition for kind in KINDS if kind.sort == "source"}

    found = until(lambda: discovered(kubernetes), lambda found: sources <= {*found})

    assert {name for name, each in found.items() if "sources" in each["categories"]} == sources
    assert found["rabbitmqbrokerconfigs.eventing.knative.dev"]["shortNames"] == ["rmqbrokerconfig"]


def discovered(kubernetes: Kubernetes) -> Mapping[str, Object]:
    """Return what `kubectl` knows of the kinds."""
    return {
        f"{each['name']}.{group}": each
        for group, version in {(kind.group, kind.versions[0]) for kind in KINDS}
        for each in kubernetes.ask("GET", f"/apis/{group}/{version}")["resources"]
        if "/" not in each["name"]
    }


def test_fields_are_explained(kubernetes: Kubernetes, judge: Judge) -> None:
    def explained() -> str:
        told = kubernetes.ask("GET", "/openapi/v3/apis/eventing.knative.dev/v1")
        schemas = told["components"]["schemas"]
        triggers = [each for name, each in schemas.items() if name.endswith(".Trigger")]
        return str(triggers and triggers[0]["properties"]["spec"])

    text = until(explained, lambda text: "retryAfterMax" in text)

    assert "those that pass every one of these filters" in text
    assert "How many attempts there are after the first" in text


def problems(found: Object, file: Path) -> set[tuple[str, str]]:
    """Return what the mesh says of an object that stands alone in a file."""
    file.write_text(json.dumps(found))
    try:
        load([file])
    except InvalidManifest as error:
        return {(each.path, each.message) for each in error.problems}
    return set()


def changed(found: Object) -> Iterator[Object]:
    """Yield the object with one thing in its spec replaced by another, or deleted."""
    for place in places(found["spec"]):
        for instead in INSTEAD:
            other = copy.deepcopy(found)
            within: Any = other
            *above, last = ("spec", *place)
            for each in above:
                within = within[each]
            if instead is DELETED:
                del within[last]
            else:
                within[last] = instead
            yield other


def places(value: object) -> Iterator[tuple[str | int, ...]]:
    yield ()
    members: Any = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for name, each in members:
        for below in places(each):
            yield (name, *below)
