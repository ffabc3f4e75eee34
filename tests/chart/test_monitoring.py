"""What Prometheus and Grafana are told of a release."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.carried import COPIES
from charts.values_docs import CHART
from tests.chart.rendering import Object, Refused, Rendered, rendered, template
from tests.chart.surroundings import beside

RULES = CHART.parent / "alerts" / "cemesh.rules.yaml"
BOARDS = CHART.parent / "dashboards"
RUNBOOKS = "https://wiki.example.com/runbooks"


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.name)
def test_the_chart_carries_what_is_beside_it(copy: Path) -> None:
    told = "python -m charts.carried --write"

    assert copy.read_bytes() == COPIES[copy].read_bytes(), told


def test_the_chart_carries_all_of_it_and_nothing_else() -> None:
    carried = set((CHART / "files" / "dashboards").iterdir())

    assert carried == {file for file in COPIES if file.suffix == ".json"}
    assert len(carried) == len([*BOARDS.glob("*.json")])


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether the labels are selected; of expressions, only DoesNotExist is known."""
    expressions = selector.get("matchExpressions", [])
    assert all(each["operator"] == "DoesNotExist" for each in expressions)
    absent = {each["key"] for each in expressions}
    return selector["matchLabels"].items() <= labels.items() and not absent & labels.keys()


def one(release: Rendered, kind: str) -> Object:
    (found,) = release.all(kind)
    return found


def test_a_pod_monitor_has_every_pod_of_the_mesh_and_no_other(helm: Path) -> None:
    release = beside(helm, "kafka")
    selector = one(release, "PodMonitor")["spec"]["selector"]

    selected = {
        component
        for component, pod in release.templates().items()
        if matches(selector, pod["metadata"]["labels"])
    }
    assert selected == {"ingress", "dispatcher", "sources"}
    assert not any(matches(selector, pod["metadata"]["labels"]) for pod in release.all("Pod"))


def test_a_service_monitor_has_the_service_that_leads_to_all_pods_alone(helm: Path) -> None:
    release = beside(helm, "rabbitmq")
    spec = one(release, "ServiceMonitor")["spec"]

    (service,) = [
        each
        for each in release.all("Service")
        if matches(spec["selector"], each["metadata"]["labels"])
    ]
    assert service["metadata"]["name"] == "events-cemesh-parts"
    assert [each["name"] for each in service["spec"]["ports"]] == [
        each["port"] for each in spec["endpoints"]
    ]


@pytest.mark.parametrize("mode", ["single", "split"])
def test_what_is_scraped_is_a_port_of_every_pod(helm: Path, tmp_path: Path, mode: str) -> None:
    values = {
        "crds": {"install": False},
        "mode": mode,
        "channel": {"url": "kafka://kafka:9092"},
        "monitoring": {"scrape": {"enabled": True}},
    }
    release = rendered(template(helm, values, folder=tmp_path))
    (endpoint,) = one(release, "PodMonitor")["spec"]["podMetricsEndpoints"]

    assert endpoint == {"port": "admin", "path": "/metrics"}
    for component in release.templates():
        assert "admin" in [each["name"] for each in release.container(component)["ports"]]


def test_an_admin_port_with_tls_is_verified(helm: Path) -> None:
    release = beside(helm, "kafka")
    (endpoint,) = one(release, "PodMonitor")["spec"]["podMetricsEndpoints"]
    admin = release.one("Service", "admin")["metadata"]

    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {
        "serverName": f"{admin['name']}.{admin['namespace']}.svc",
        "ca": {"secret": {"name": "admin-tls", "key": "ca.crt"}},
    }
    assert endpoint["interval"] == "15s"
    assert endpoint["relabelings"] == [{"targetLabel": "mesh", "replacement": "events"}]
    assert [each["action"] for each in endpoint["metricRelabelings"]] == ["drop"]


def test_they_are_labelled_as_those_look_for_them(helm: Path) -> None:
    release = beside(helm, "kafka")

    for kind in ("PodMonitor", "PrometheusRule"):
        labels = one(release, kind)["metadata"]["labels"]
        assert labels["release"] == "prometheus"
        assert labels["app.kubernetes.io/instance"] == "events"
    for board in dashboards(release):
        assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert board["metadata"]["annotations"] == {"grafana_folder": "Events"}
        assert board["metadata"]["namespace"] == "grafana"


def alerts(groups: list[Object]) -> Iterator[Object]:
    return (rule for group in groups for rule in group["rules"] if "alert" in rule)


def test_the_alerts_are_those_of_the_folder_but_for_what_is_asked(helm: Path) -> None:
    groups = one(beside(helm, "kafka"), "PrometheusRule")["spec"]["groups"]
    text = RULES.read_text().replace("docs/runbooks", RUNBOOKS)
    wanted = yaml.safe_load(text)["groups"]
    for group in wanted:
        group["rules"] = [
            rule for rule in group["rules"] if rule.get("alert") != "CemeshProcessDown"
        ]
    for rule in alerts(wanted):
        rule["labels"]["team"] = "events"

    assert groups == wanted
    assert len([*alerts(groups)]) > 10


def test_prometheus_reads_the_rules(helm: Path, tmp_path: Path, promtool: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(one(beside(helm, "kafka"), "PrometheusRule")["spec"]))

    checked = subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def dashboards(release: Rendered) -> list[Object]:
    return [each for each in release.all("ConfigMap") if "-dashboard-" in each["metadata"]["name"]]


def test_the_dashboards_are_those_of_the_folder(helm: Path) -> None:
    found = dashboards(beside(helm, "kafka"))
    texts = [text for each in found for text in each["data"].values()]
    wanted = [
        board.read_text().replace("docs/runbooks", RUNBOOKS)
        for board in sorted(BOARDS.glob("*.json"))
    ]

    assert [json.loads(text) for text in texts] == [json.loads(text) for text in wanted]
    assert len({name for each in found for name in each["data"]}) == len(wanted)
    for each in found:
        assert len(json.dumps(each)) < 1 << 20, "Kubernetes takes no larger one"


def test_nothing_of_it_is_there_unless_asked_for(helm: Path, tmp_path: Path) -> None:
    release = rendered(template(helm, {"crds": {"install": False}}, folder=tmp_path))

    kinds = {each["kind"] for each in release.objects}
    assert not kinds & {"PodMonitor", "ServiceMonitor", "PrometheusRule", "Ingress", "HTTPRoute"}
    assert dashboards(release) == []


def test_a_kind_that_scrapes_nothing_is_refused(helm: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="/monitoring/scrape/kind"):
        template(helm, {"monitoring": {"scrape": {"kind": "Probe"}}}, folder=tmp_path)
