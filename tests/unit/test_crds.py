"""The kinds that the chart brings along, and what its files say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.manifest.kinds import kinds_of_clusters
from charts.crds.files import DEFINITIONS, LIST, files
from charts.crds.kinds import KINDS, Kind
from charts.crds.pages import said_of_fields

MADE = files()


@cache
def schema_of(kind: Kind) -> dict[str, Any]:
    made = yaml.load(MADE[DEFINITIONS / f"{kind.definition}.yaml"], yaml.CSafeLoader)
    schema: dict[str, Any] = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def spec_of(kind: Kind) -> dict[str, Any]:
    spec: dict[str, Any] = schema_of(kind)["properties"]["spec"]
    return spec


@pytest.mark.parametrize("file", sorted(MADE), ids=lambda file: file.name)
def test_a_file_of_the_chart_is_what_the_code_says(file: Path) -> None:
    assert file.read_text() == MADE[file], "python -m charts.crds --write"


def test_every_kind_that_the_mesh_reads_in_a_cluster_is_there() -> None:
    versions = {kind.kind: [f"{kind.group}/{each}" for each in kind.versions] for kind in KINDS}

    assert versions == {kind: list(each) for kind, each in kinds_of_clusters().items()}


def test_no_two_kinds_have_the_same_name_in_a_group() -> None:
    names = [(each.group, name) for each in KINDS for name in (each.plural_name, each.singular)]

    assert len({*names}) == len(names)


def test_the_rules_name_every_kind_and_the_statuses_that_are_written() -> None:
    listed: Mapping[str, Any] = yaml.safe_load(LIST.read_text())

    def named(rules: str) -> set[str]:
        return {
            f"{resource}.{group}"
            for rule in listed["rules"][rules]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }

    assert named("read") == {each["crd"] for each in listed["kinds"]}
    assert named("status") == {
        f"{each['plural']}/status.{each['group']}" for each in listed["kinds"] if each["status"]
    }
    assert {verb for rule in listed["rules"]["read"] for verb in rule["verbs"]} == {
        "get",
        "list",
        "watch",
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_field_of_a_spec_is_explained(kind: Kind) -> None:
    for name, field in spec_of(kind)["properties"].items():
        assert field.get("description"), name


# The table of a ContainerSource is of its container, which its definition leaves to Kubernetes.
@pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind.kind != "ContainerSource"],
    ids=lambda kind: kind.kind,
)
def test_what_the_documentation_says_is_of_fields_that_there_are(kind: Kind) -> None:
    for path in said_of_fields(kind):
        found = spec_of(kind)
        for name in path:
            assert name in found["properties"], path
            found = found["properties"][name]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_column_shows_a_field_that_there_is(kind: Kind) -> None:
    for column in kind.columns:
        part, *rest = re.findall(r"\w+", column.path.partition("[")[0])
        if part != "metadata":
            found = schema_of(kind)["properties"][part]
            for name in rest:
                found = found["properties"][name]
            assert found["type"] in ("string", "array")
