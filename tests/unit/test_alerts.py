"""The alerts: they ask for what a mesh tells, fire when they must, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path

from tests.services.alertrules import RULES, RUNBOOKS, TESTS, alerts, fired, recorded, rules, run
from tests.services.promql import metrics, problems


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
