"""The alerts of charts/alerts, as values, and what their own tests say of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tests.services.promql import Metric

_ROOT = Path(__file__).parents[2]
RULES = _ROOT / "charts" / "alerts" / "cemesh.rules.yaml"
RUNBOOKS = _ROOT / "docs" / "runbooks"
TESTS = _ROOT / "tests" / "unit" / "alerts.yaml"

_LABEL = re.compile(r'(\w+)="([^"]*)"')


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
    told = [dict(_LABEL.findall(each)) for each in found]
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
    """Run it, and fail with what it says where that is not that all is well."""
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
