"""What Deployments are made of ContainerSources, as far as no API server is needed to say so."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from broker.connections.kubernetes.collections import Object
from broker.kubernetes.containers import HASH, broker_of, deployment_name, deployment_of

_SINK = "https://mesh.example/shop/orders"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _source(name: str = "beats", **spec: object) -> Object:
    meta = {"name": name, "namespace": "shop", "uid": "1"}
    api_version = "sources.knative.dev/v1"
    return {"apiVersion": api_version, "kind": "ContainerSource", "metadata": meta, "spec": spec}


def _template(*containers: object, **pod: object) -> Object:
    return {"spec": {"containers": list(containers), **pod}}


def _env(container: Object) -> Mapping[str, object]:
    return {each["name"]: each.get("value") for each in container["env"]}


@pytest.mark.parametrize("name", ["a", "x" * 52, "x" * 53, "x" * 253, "a." * 60 + "a"])
def test_a_name_of_any_length_makes_names_that_the_api_server_takes(name: str) -> None:
    made = deployment_of(_source(name, template=_template({})), _SINK, None)

    labels = made["spec"]["selector"]["matchLabels"]
    for each in (made["metadata"]["name"], labels["sources.knative.dev/containerSource"]):
        assert len(each) <= 63
        assert _NAME.fullmatch(each)


def test_long_names_stay_apart() -> None:
    assert deployment_name("x" * 100) != deployment_name("x" * 101)
    assert deployment_name("beats") == "beats-deployment"


def test_every_container_is_told_where_events_go() -> None:
    template = _template({"name": "a"}, {"name": "b"}, initContainers=[{"name": "c"}])

    pod = deployment_of(_source(template=template), _SINK, "PEM")["spec"]["template"]["spec"]

    for each in (*pod["containers"], *pod["initContainers"]):
        assert _env(each)["K_SINK"] == _SINK
        assert _env(each)["K_CA_CERTS"] == "PEM"


def test_authorities_are_for_what_is_reached_by_tls_alone() -> None:
    made = deployment_of(_source(template=_template({})), "http://mesh.example/a/b", "PEM")

    [container] = made["spec"]["template"]["spec"]["containers"]
    assert "K_CA_CERTS" not in _env(container)


def test_its_own_name_and_namespace_are_the_programs_to_say() -> None:
    env = [{"name": "NAME", "value": "mine"}, {"name": "SECRET", "valueFrom": {}}]

    made = deployment_of(_source(template=_template({"env": env})), _SINK, None)

    [container] = made["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in container["env"]].count("NAME") == 1
    assert _env(container)["NAME"] == "mine"
    assert {"name": "SECRET", "valueFrom": {}} in container["env"]


def test_a_hash_tells_what_is_asked_for() -> None:
    def hash_of(sink: str = _SINK, **container: object) -> object:
        made = deployment_of(_source(template=_template(container)), sink, None)
        return made["metadata"]["annotations"][HASH]

    assert hash_of(image="a", args=["b"]) == hash_of(args=["b"], image="a")
    assert len({hash_of(image="a"), hash_of(image="b"), hash_of("https://other/", image="a")}) == 3


@pytest.mark.parametrize(
    ("sink", "broker"),
    [
        (
            {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "a"}},
            "shop/a",
        ),
        (
            {
                "ref": {
                    "apiVersion": "eventing.knative.dev/v1",
                    "kind": "Broker",
                    "name": "a",
                    "namespace": "other",
                }
            },
            "other/a",
        ),
        ({"uri": "broker://other/a"}, "other/a"),
        ({"uri": "https://example.com"}, None),
        ({"ref": {"apiVersion": "v1", "kind": "Service", "name": "a"}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_broker_is_the_one_that_the_sink_names(sink: object, broker: str | None) -> None:
    assert broker_of(_source(sink=sink)) == broker
