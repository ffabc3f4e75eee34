"""How events come in from outside: where it leads, and what is not let through unawares."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from charts.values_docs import CHART
from tests.chart.rendering import Object, Refused, Rendered, rendered, template
from tests.chart.surroundings import BESIDE, beside

ADMIN = {"enabled": True, "host": "mesh.example.com", "annotations": {"example.com/auth": "yes"}}


def of(helm: Path, folder: Path, values: Mapping[str, Any]) -> Rendered:
    return rendered(template(helm, {"crds": {"install": False}, **values}, folder=folder))


def ports(release: Rendered, name: str) -> Mapping[str, object]:
    """Return the ports of a Service, by name and by number."""
    (service,) = [each for each in release.all("Service") if each["metadata"]["name"] == name]
    found = {each["name"]: each["targetPort"] for each in service["spec"]["ports"]}
    return found | {str(each["port"]): each["targetPort"] for each in service["spec"]["ports"]}


def paths(ingress: Object) -> Iterator[Object]:
    return (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"])


@pytest.mark.parametrize("name", BESIDE)
def test_an_ingress_leads_to_the_data_port(helm: Path, name: str) -> None:
    release = beside(helm, name)
    ingress = release.one("Ingress", "ingress")

    for path in paths(ingress):
        service = path["backend"]["service"]
        assert ports(release, service["name"])[service["port"]["name"]] == "http"


def test_every_host_has_every_path(helm: Path) -> None:
    ingress = beside(helm, "kafka").one("Ingress", "ingress")
    rules = {
        rule["host"]: [path["path"] for path in rule["http"]["paths"]]
        for rule in ingress["spec"]["rules"]
    }

    assert rules == {
        "events.example.com": ["/shop/", "/webhooksources/"],
        "*.events.example.com": ["/shop/", "/webhooksources/"],
    }
    assert {path["pathType"] for path in paths(ingress)} == {"Prefix"}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [
        {"hosts": ["events.example.com"], "secretName": "events-example-com"}
    ]


def test_without_a_host_any_name_is_answered(helm: Path) -> None:
    (rule,) = beside(helm, "rabbitmq").one("Ingress", "ingress")["spec"]["rules"]

    assert "host" not in rule
    assert [path["path"] for path in rule["http"]["paths"]] == ["/"]


@pytest.mark.parametrize(("tls", "port"), [({}, 80), ({"secretName": "events-tls"}, 443)])
def test_a_route_of_a_gateway_leads_to_the_data_port(
    helm: Path, tmp_path: Path, tls: object, port: int
) -> None:
    route = {"enabled": True, "parentRefs": [{"name": "public"}]}
    release = of(helm, tmp_path, {"tls": tls, "routes": {"httpRoute": route}})
    ((rule,),) = (each["spec"]["rules"] for each in release.all("HTTPRoute"))

    (backend,) = rule["backendRefs"]
    assert backend["port"] == port
    assert ports(release, backend["name"])[str(port)] == "http"
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert "filters" not in rule


def test_a_route_of_a_gateway_is_as_the_values_say(helm: Path) -> None:
    (route,) = beside(helm, "kafka").all("HTTPRoute")
    (rule,) = route["spec"]["rules"]

    assert route["spec"]["parentRefs"][0]["sectionName"] == "https"
    assert route["spec"]["hostnames"] == ["events.example.com"]
    assert [each["path"]["value"] for each in rule["matches"]] == ["/shop/", "/webhooksources/"]
    assert [each["type"] for each in rule["filters"]] == ["RequestHeaderModifier"]


@pytest.mark.parametrize("mode", ["single", "split"])
def test_the_admin_port_has_a_name_of_its_own(helm: Path, tmp_path: Path, mode: str) -> None:
    channel = {"url": "kafka://kafka:9092"}
    release = of(helm, tmp_path, {"mode": mode, "channel": channel, "routes": {"admin": ADMIN}})
    ingress = release.one("Ingress", "admin")

    (rule,) = ingress["spec"]["rules"]
    (path,) = paths(ingress)
    service = path["backend"]["service"]
    assert rule["host"] == "mesh.example.com"
    assert ports(release, service["name"])[service["port"]["name"]] == "admin"
    assert ingress["metadata"]["annotations"] == {"example.com/auth": "yes"}


@pytest.mark.parametrize(
    ("routes", "told"),
    [
        ({"httpRoute": {"enabled": True}}, "routes: httpRoute.parentRefs: name the Gateway"),
        ({"admin": {**ADMIN, "host": ""}}, "routes: admin.host: give it a name of its own"),
        (
            {"admin": {**ADMIN, "annotations": {}}},
            "routes: admin.annotations: the admin port asks nobody who they are",
        ),
        (
            {"admin": ADMIN, "ingress": {"enabled": True, "hosts": ["mesh.example.com"]}},
            "routes: admin.host: mesh.example.com leads to the data port",
        ),
        ({"ingress": {"paths": ["shop"]}}, "/routes/ingress/paths/0"),
        ({"ingress": {"hosts": ["https://example.com"]}}, "/routes/ingress/hosts/0"),
        ({"httpRoute": {"parentRefs": [{"namespace": "gateways"}]}}, "parentRefs/0"),
    ],
)
def test_a_route_that_leads_nowhere_or_lets_anybody_in_is_refused(
    helm: Path, tmp_path: Path, routes: Mapping[str, object], told: str
) -> None:
    with pytest.raises(Refused) as refused:
        of(helm, tmp_path, {"routes": routes})

    assert told in str(refused.value)


@pytest.mark.parametrize("open_", [True, False])
def test_whoever_installs_is_warned_of_an_open_admin_port(
    helm: Path, tmp_path: Path, open_: bool
) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"routes": {"admin": {**ADMIN, "enabled": open_}}}))

    said = subprocess.run(
        [helm, "install", "events", CHART, "--dry-run=client", "--values", file],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert ("WARNING: mesh.example.com leads to the admin port" in said) is open_
