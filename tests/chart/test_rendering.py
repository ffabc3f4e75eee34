"""What the chart renders: valid for Kubernetes, closed, and as it was looked at."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest

from charts.values_docs import CHART
from tests.chart.conftest import Shape
from tests.chart.goldens import FILES, settled
from tests.chart.rendering import NAMESPACE, RELEASE, SHAPES, run

VERSIONS = ("1.30", "1.37")
"""The oldest that the chart is for, and the newest there is."""


@pytest.mark.parametrize("name", SHAPES)
def test_helm_finds_nothing_to_complain_of(helm: Path, name: str) -> None:
    said = run(helm, "lint", "--strict", str(CHART), "--values", str(SHAPES[name]))

    assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_object_is_one_of_kubernetes(shape: Shape, name: str, version: str) -> None:
    objects = shape(name).objects

    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)
    assert objects


def test_an_object_that_is_none_is_told(shape: Shape) -> None:
    service = shape("single").one("Service", "ingress")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "spec": {"prots": []}}, VERSIONS[1], strict=True)


def test_whoever_installs_it_is_told_what_to_do_next(helm: Path) -> None:
    said = notes(helm, "single")

    assert "http://events-cemesh-ingress.mesh.svc.cluster.local/NAMESPACE/BROKER" in said
    assert "helm -n mesh test events" in said
    assert "The mesh has one broker, default/default, and no triggers" in said
    assert "WARNING" not in said
    assert "WARNING: persistence.enabled is false" in notes(helm, "bare")
    assert "exec deployment/events-cemesh-dispatcher" in notes(helm, "split-kafka")


def notes(helm: Path, shape: str) -> str:
    values = ("--values", str(SHAPES[shape]))
    said = run(helm, "install", RELEASE, str(CHART), "-n", NAMESPACE, "--dry-run=client", *values)
    return said.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_said_twice(shape: Shape, name: str) -> None:
    keys = [
        (
            each["apiVersion"],
            each["kind"],
            each["metadata"].get("namespace"),
            each["metadata"]["name"],
        )
        for each in shape(name).objects
    ]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", FILES)
def test_it_renders_what_was_looked_at(shape: Shape, name: str) -> None:
    assert settled(shape(name).text) == FILES[name].read_text(), (
        "python -m tests.chart.goldens --write"
    )
