"""The alerts: they ask for what a mesh tells, fire when they must, and say what to do."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tests.services.promql import Metric, metrics, problems

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "alerts" / "cemesh.rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
TESTS = Path(__file__).with_name("alerts.yaml")

LABEL = re.compile(r'(\w+)="([^"]*)"')


class Rule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    expr: str
    alert: str = ""
    record: str = ""
    pending: str = msgspec.field(default="0m", name="for")
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class Group(msgspec.Struct, kw_only=True):
    name: str
    rules: Sequence[Rule]


class Rules(msgspec.Struct):
    groups: Sequence[Group]


def rules() -> Sequence[Rule]:
    read = msgspec.yaml.decode(RULES.read_bytes(), type=Rules)
    return [rule for group in read.groups for rule in group.rules]


def alerts() -> Mapping[str, Rule]:
    return {each.alert: each for each in rules() if each.alert}


def fired() -> Mapping[str, Mapping[str, str]]:
    """Return the labels that each alert has where its test sees it fire."""
    found = re.findall(r"ALERTS\{(alertname=.*?)}'", TESTS.read_text())
    told = [dict(LABEL.findall(each)) for each in found]
    return {each.pop("alertname"): each for each in told}


def recorded() -> Mapping[str, Metric]:
    """Return the metrics that the rules themselves make."""
    found = {}
    for rule in rules():
        if rule.record:
            grouped = re.match(r"(sum|max) by \(([\w, ]+)\)", rule.expr)
            assert grouped, rule.expr
            labels = frozenset(grouped[2].split(", "))
            found[rule.record] = Metric(kind="gauge", labels=labels)
    return found


def run(promtool: Path, *arguments: str | Path) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_them(promtool: Path) -> None:
    run(promtool, "check", "rules", RULES)


def test_each_fires_when_it_must_and_not_when_all_is_well(promtool: Path) -> None:
    run(promtool, "test", "rules", TESTS)


def test_each_is_seen_firing() -> None:
    assert fired().keys() == alerts().keys()


def test_they_ask_for_what_a_mesh_tells() -> None:
    known = {**metrics(), **recorded()}

    wrong = {rule.alert or rule.record: [*problems(rule.expr, known)] for rule in rules()}

    assert {name: found for name, found in wrong.items() if found} == {}


def test_each_says_how_much_it_matters_and_of_what_it_speaks() -> None:
    for name, rule in alerts().items():
        assert rule.labels.keys() == {"severity"}
        assert rule.labels["severity"] in {"critical", "warning"}
        assert rule.annotations.keys() == {"summary", "description", "runbook_url"}
        named = set(re.findall(r"\$labels\.(\w+)", "".join(rule.annotations.values())))
        assert named <= fired()[name].keys(), name


def test_each_has_its_runbook_and_each_runbook_its_alert() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("Cemesh*.md")}
    index = (RUNBOOKS / "README.md").read_text()
    severities = dict(re.findall(r"^\| \[(\w+)]\(\1\.md\) \| (\w+) \|", index, re.MULTILINE))

    assert pages == alerts().keys()
    assert severities == {name: each.labels["severity"] for name, each in alerts().items()}
    for name, rule in alerts().items():
        assert rule.annotations["runbook_url"] == f"docs/runbooks/{name}.md"
