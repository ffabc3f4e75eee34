"""What the chart refuses, in which words; and that every value is described."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.values_docs import CHART, PAGE, UncommentedValueError, page, values
from tests.chart.rendering import Refused, rendered, template

OPEN = {
    "/properties/global",  # charts that this one is a part of have theirs in it
    "/properties/auditLog/properties/volume",  # a volume has thirty sorts
    "/$defs/volume",
}
"""Where any key is taken: Kubernetes says there what is right."""


def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return read


def objects(node: object, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema of an object with properties, and where it is."""
    if isinstance(node, dict):
        if node.get("type") == "object" and ("properties" in node or path.count("/") == 2):
            yield path, node
        for key, each in node.items():
            yield from objects(each, f"{path}/{key}")
    elif isinstance(node, list):
        for each in node:
            yield from objects(each, path)


def test_no_key_is_taken_that_has_no_meaning() -> None:
    found = [path for path, each in objects(schema()) if each.get("additionalProperties") is None]

    assert {path for path in found if path not in OPEN} == set()


def test_every_value_has_a_type() -> None:
    def of(node: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
        node = schema()["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        properties = node.get("properties", {})
        for key, each in value.items() if isinstance(value, dict) and properties else ():
            if key in properties:
                yield from of(properties[key], each, f"{path}.{key}")
            else:
                yield f"{path}.{key}"

    given = yaml.safe_load((CHART / "values.yaml").read_text())

    assert [*of(schema(), given, "")] == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mod": "split"}, "additional properties 'mod' not allowed"),
        ({"mode": "triple"}, "/mode"),
        ({"components": {"ingress": {"replica": 3}}}, "additional properties 'replica'"),
        ({"components": {"mesh": {"replicas": 3}}}, "additional properties 'replicas'"),
        ({"pod": {"securityContext": {"runAsNonRot": True}}}, "'runAsNonRot'"),
        ({"service": {"port": "80"}}, "got string, want integer"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"channel": {"url": "redis://r:6379"}}, "/channel/url"),
        ({"channel": {"kafka": {"bootstrapServers": ["kafka"]}}}, "bootstrapServers/0"),
        ({"manifests": {"notes.txt": "…"}}, "'notes.txt' not allowed"),
        ({"manifests": {"a.yaml": {"kind": "Broker"}}}, "apiVersion"),
        ({"options": {"maxEventSize": "big"}}, "/options/maxEventSize"),
        ({"proxy": {"url": "http://user:password@proxy:3128"}}, "/proxy/url"),
        ({"networkPolicy": {"from": [{"podSelektor": {}}]}}, "'podSelektor'"),
    ],
)
def test_a_value_that_means_nothing_is_refused(
    helm: Path, tmp_path: Path, given: Mapping[str, object], told: str
) -> None:
    with pytest.raises(Refused, match=r"don't meet the specifications") as refused:
        template(helm, given, folder=tmp_path)

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mode": "split"}, "mode: split needs a channel that its parts share"),
        (
            {"channel": {"url": "kafka://k:9092", "existingSecret": {"name": "channel"}}},
            "channel: give one of",
        ),
        ({"trust": {"pem": "x", "secret": "y"}}, "trust: give one of pem, configMap and secret"),
        (
            {"proxy": {"url": "http://p:1", "existingSecret": {"name": "proxy"}}},
            "proxy: give url or existingSecret.name, not both",
        ),
        ({"manifests": {"mesh_test.yaml": "…"}}, "the mesh does not read tests"),
        ({"serviceAccount": {"name": "mine"}}, "serviceAccount: name is for one that is there"),
    ],
)
def test_values_that_do_not_go_together_are_refused(
    helm: Path, tmp_path: Path, given: Mapping[str, object], told: str
) -> None:
    with pytest.raises(Refused) as refused:
        template(helm, given, folder=tmp_path)

    assert told in str(refused.value)


def test_the_page_of_values_is_what_their_comments_say() -> None:
    made = page(values((CHART / "values.yaml").read_text()))

    assert PAGE.read_text() == made, "python -m charts.values_docs --write"


def test_a_value_without_a_comment_is_told() -> None:
    with pytest.raises(UncommentedValueError, match=r"service\.port"):
        values("# It takes events.\nservice:\n  # What it is.\n  type: ClusterIP\n\n  port: 80\n")


def test_the_chart_is_for_the_version_that_it_stands_beside() -> None:
    project = tomllib.loads((CHART / ".." / ".." / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == project["version"]
    assert chart["description"] == project["description"]


def test_a_name_that_is_too_long_is_cut(helm: Path, tmp_path: Path) -> None:
    release = rendered(
        template(
            helm,
            {"mode": "split", "channel": {"url": "kafka://k:9092"}},
            release="r" * 53,
            folder=tmp_path,
        )
    )

    for each in release.objects:
        if each["kind"] != "CustomResourceDefinition":
            assert len(each["metadata"]["name"]) <= 63
