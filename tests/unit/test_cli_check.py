"""``cemesh check``: everything that is wrong, on one line each."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from broker.cli.root import cli

GOOD = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: default}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: audit, namespace: default}
spec:
  broker: default
  subscriber: {uri: http://127.0.0.1:9000/}
"""

BAD = GOOD.replace("subscriber:", "subscribe:")


def check(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "mesh.yaml"
    file.write_text(text)
    return CliRunner().invoke(cli, ["check", str(file), *options])


def test_good_manifests_are_summed_up(tmp_path: Path) -> None:
    result = check(tmp_path, GOOD)

    assert result.exit_code == 0
    assert result.stdout == "1 broker, 1 trigger, 0 sources: 0 problems, 0 warnings\n"


def test_every_problem_is_a_line_with_its_place(tmp_path: Path) -> None:
    result = check(tmp_path, f"{BAD}---\n{BAD.replace('default', 'other')}")

    *problems, summary = result.stdout.splitlines()
    assert result.exit_code == 1
    assert all(line.startswith(f"{tmp_path}/mesh.yaml:") for line in problems)
    assert any("Trigger default/audit" in line for line in problems)
    assert any("Trigger other/audit" in line for line in problems)
    assert summary == f"{len(problems)} problems, 0 warnings"


def test_problems_for_scripts_are_one_document(tmp_path: Path) -> None:
    result = check(tmp_path, BAD, "--output", "json")

    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["valid"] is False
    problem = next(each for each in document["problems"] if "subscribe" in each["message"])
    assert problem["file"] == f"{tmp_path}/mesh.yaml"
    assert problem["line"] == 10
    assert problem["subject"] == "Trigger default/audit"
    assert problem["severity"] == "error"


def test_good_manifests_for_scripts_name_what_they_hold(tmp_path: Path) -> None:
    document = json.loads(check(tmp_path, GOOD, "--output", "json").stdout)

    assert document == {
        "valid": True,
        "brokers": ["default/default"],
        "triggers": ["default/audit"],
        "sources": [],
        "problems": [],
    }


def test_a_resolved_ref_goes_where_it_was_told_to(tmp_path: Path) -> None:
    text = GOOD.replace(
        "{uri: http://127.0.0.1:9000/}", "{ref: {apiVersion: x/v1, kind: Nothing, name: x}}"
    )

    assert check(tmp_path, text).exit_code == 1
    assert check(tmp_path, text, "--resolve", "Nothing/default/x=http://127.0.0.1/").exit_code == 0


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "none.yaml")])

    assert result.exit_code == 1
    assert "none.yaml" in result.stdout
