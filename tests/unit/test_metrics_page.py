"""The page of the metrics says what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from broker.observe.families import FAMILIES
from broker.observe.family import LABELS
from tests.services.metricspage import PAGE, with_tables
from tests.unit.desks import no_programs, run_pytest

DOCS = PAGE.parent
ROOT = DOCS.parent
NAME = re.compile(r"\bcemesh_[a-z_]+")
SUFFIX = re.compile("_(bucket|count|sum)$")
UNITS = {"attempts", "events", "messages", "problems", "requests", "restarts", "seconds"}


def test_its_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text()

    assert with_tables(page) == page, "python -m tests.services.metricspage --write"


def test_it_explains_every_value_of_the_labels_that_no_manifest_tells() -> None:
    explained = re.findall(r"^\| (`.*?`) \| .* \|$", PAGE.read_text(), re.MULTILINE)
    told = {value for each in explained for value in re.findall("`([^`]+)`", each)}

    for name in ("reason", "outcome", "origin"):
        assert set(LABELS[name].values or ()) <= told, name


def test_no_page_tells_of_a_metric_that_is_not_there() -> None:
    pages = [*DOCS.rglob("*.md"), ROOT / "README.md"]
    fixtures = {"cemesh_mesh"}  # of pytest, on the page of the tests of triggers

    named = {name for page in pages for name in NAME.findall(page.read_text())} - fixtures

    assert {SUFFIX.sub("", name) for name in named} - FAMILIES.keys() == set()


def test_its_queries_can_be_asked(promtool: Path, tmp_path: Path) -> None:
    section = PAGE.read_text().partition("## What to look at")[2]
    found = re.findall(r"^\| `(.*?)` \|", section.replace("\\|", "OR"), re.MULTILINE)
    queries = [each.replace("OR", "|") for each in found]
    rules = [{"record": f"page:{number}", "expr": each} for number, each in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "page", "rules": rules}]}))

    checked = subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert len(queries) > 9
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name, family in FAMILIES.items():
        unit = f"_{family.unit}" if family.unit else ""
        counted = "_total" if family.kind == "counter" else ""
        assert family.unit in UNITS | {""}
        assert unit in name, name
        assert name.endswith(counted or (unit if family.kind == "histogram" else "")), name
        assert set(family.labels) <= LABELS.keys(), name


def test_where_there_is_no_promtool_tests_are_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_programs(tmp_path / "programs", monkeypatch)

    output = run_pytest(tmp_path, "tests.services.promtool", "def test_it(promtool): ...")

    assert "1 skipped" in output
    assert "no promtool to check metrics with (there is no apt-get)" in output
