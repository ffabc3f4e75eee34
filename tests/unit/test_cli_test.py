"""``cemesh test``: what it prints, writes and answers."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner, Result

from broker.cli.root import cli

EXAMPLES = Path(__file__).parents[2] / "examples"

MESH = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: archive}
spec:
  broker: default
  filters: [{prefix: {source: /shop/munich}}]
  subscriber: {uri: http://archive/}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: returns}
spec:
  broker: default
  filters: [{any: [{exact: {type: order}}, {suffix: {type: .returned}}]}]
  subscriber: {uri: http://returns/}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: all}
spec:
  broker: default
  subscriber: {ref: {apiVersion: a/v1, kind: Sink, name: all}}
"""
HEAD = """\
apiVersion: cemesh.dev/v1alpha1
kind: TriggerTest
metadata: {name: orders}
spec:
  tests:
"""
PASSES = """\
    - name: an order reaches returns
      event: {type: order, source: /shop}
      matches: [returns]
"""
FAILS = """\
    - name: an order is archived
      event: {type: order, source: /shop/berlin, subject: "1042", region: eu}
      matches: [archive]
      doesNotMatch: [returns, all]
"""
WRONG = """\
    - name: there is no such trigger
      event: {type: order, source: /}
      matches: [archives]
"""
RESOLVE = ("--resolve", "Sink/default/all=http://all/")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with manifests, which is the current one."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cemesh_test(*arguments: str, color: bool = False) -> Result:
    return CliRunner().invoke(cli, ["test", *RESOLVE, *arguments], color=color)


def test_files_whose_tests_pass_are_a_line_each(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)
    (folder / "b_test.yml").write_text(HEAD + PASSES + PASSES.replace("an order", "another"))

    result = cemesh_test()

    assert result.exit_code == 0
    assert result.stdout == (
        "ok    a_test.yaml  1 test\nok    b_test.yml  2 tests\n3 tests, 0 failed\n"
    )


def test_a_test_that_fails_is_shown_as_a_difference(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES + FAILS)

    result = cemesh_test()

    assert result.exit_code == 1
    assert result.stdout == (
        "FAIL  a_test.yaml  2 tests, 1 failed\n"
        "  FAIL  a_test.yaml:9  an order is archived\n"
        "        order  source=/shop/berlin  subject=1042  region=eu\n"
        "        - archive  must match, and does not\n"
        '                   filters[0].prefix source: "/shop/munich" ≠ "/shop/berlin"\n'
        "        + returns  must not match, and does\n"
        '                   filters: [{"any": [{"exact": {"type": "order"}}, '
        '{"suffix": {"type": ".returned"}}]}]\n'
        "        + all      must not match, and does\n"
        "                   it has no filter\n"
        "2 tests, 1 failed\n"
    )


def test_a_file_that_cannot_be_run_shows_its_problems_and_fails(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + WRONG)
    (folder / "b_test.yaml").write_text(HEAD + PASSES)

    result = cemesh_test()

    assert result.exit_code == 1
    assert result.stdout == (
        "ERROR a_test.yaml  1 problem\n"
        "  a_test.yaml:8: TriggerTest default/orders: spec.tests[0].matches[0]: no Trigger "
        "'archives' of the Broker default/default (did you mean 'archive'?)\n"
        "ok    b_test.yaml  1 test\n"
        "1 test, 0 failed; 1 file could not be run\n"
    )


def test_the_same_problem_of_the_manifests_is_shown_once(folder: Path) -> None:
    (folder / "mesh.yaml").write_text(MESH.replace("suffix", "sufix"))
    (folder / "a_test.yaml").write_text(HEAD + PASSES)
    (folder / "b_test.yaml").write_text(HEAD + PASSES)

    result = cemesh_test()

    assert result.exit_code == 1
    assert result.stdout.count("sufix: unknown field") == 1
    assert "ERROR b_test.yaml  1 problem\n" in result.stdout


def test_triggers_that_no_test_names_are_a_hint(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)

    assert cemesh_test().stderr == "Named by no test: default/all, default/archive\n"


def test_there_is_no_hint_where_every_trigger_is_named(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + FAILS)

    assert cemesh_test().stderr == ""


@pytest.mark.parametrize("other", [WRONG, PASSES])
def test_there_is_no_hint_where_other_tests_may_name_the_triggers(folder: Path, other: str) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)
    (folder / "b_test.yaml").write_text(HEAD + other)

    assert cemesh_test(*(["a_test.yaml"] if other is PASSES else [])).stderr == ""


def test_many_triggers_that_no_test_names_are_counted(folder: Path) -> None:
    more = [MESH.split("---\n")[1].replace("archive", f"t{number:02}") for number in range(12)]
    (folder / "mesh.yaml").write_text("---\n".join([MESH, *more]))
    (folder / "a_test.yaml").write_text(HEAD + FAILS)

    hint = cemesh_test().stderr

    assert hint.endswith("default/t08, default/t09 and 2 more\n")


def test_verbose_lists_the_tests_that_pass_too(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)

    lines = cemesh_test("--verbose").stdout.splitlines()

    assert lines[1] == "  ok    a_test.yaml:6  an order reaches returns"


def test_a_filter_chooses_tests_by_name(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES + FAILS)
    (folder / "b_test.yaml").write_text(HEAD + FAILS)

    result = cemesh_test("-k", "REACHES")

    assert result.exit_code == 0
    assert result.stdout == "ok    a_test.yaml  1 test\n1 test, 0 failed\n"


def test_a_filter_that_chooses_nothing_is_wrong_usage(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)

    result = cemesh_test("-k", "refund")

    assert result.exit_code == 2
    assert "no test has 'refund' in its name" in result.stderr


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ([], "no *_test.yaml, *_test.yml or *_test.json in this folder"),
        (["mesh.yaml"], "mesh.yaml: holds no tests, by its name"),
        (["nowhere"], "does not exist"),
    ],
)
def test_no_test_at_all_is_wrong_usage(folder: Path, paths: list[str], told: str) -> None:
    result = cemesh_test(*paths)

    assert result.exit_code == 2
    assert told in result.stderr
    assert (folder / "mesh.yaml").exists()


def test_a_path_without_tests_fails_beside_others(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)

    result = cemesh_test("a_test.yaml", "mesh.yaml")

    assert result.exit_code == 1
    assert "ERROR mesh.yaml  1 problem\n" in result.stdout


def test_tests_are_found_in_folders_below_and_run_once(folder: Path) -> None:
    for name in ("shop", ".hidden", "testdata"):
        (folder / name).mkdir()
        (folder / name / "a_test.yaml").write_text(HEAD + PASSES + "  manifests: [..]\n")

    result = cemesh_test(".", "shop/a_test.yaml")

    assert result.stdout == "ok    shop/a_test.yaml  1 test\n1 test, 0 failed\n"


def test_names_and_values_are_printed_without_control_characters(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(
        HEAD
        + '    - name: "red \\e[31m"\n      event: {type: order, source: /, region: "\\u200f"}\n'
        + "      matches: [archive]\n"
    )

    result = cemesh_test()

    assert "red \\u001b[31m\n" in result.stdout
    assert "region=\\u200f\n" in result.stdout


def test_colours_are_left_out_where_nobody_wants_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES + FAILS)
    monkeypatch.delenv("NO_COLOR", raising=False)

    coloured = cemesh_test(color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[31m- archive" in coloured
    assert cemesh_test(color=True).stdout == click.unstyle(coloured)


# --- for scripts ---------------------------------------------------------------------------


def test_everything_for_scripts_is_one_document(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES + FAILS)
    (folder / "b_test.yaml").write_text(HEAD + WRONG)

    result = cemesh_test("--output", "json")

    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert result.stderr == ""
    assert (document["passed"], document["tests"], document["failed"]) == (False, 2, 1)
    assert document["untestedTriggers"] == []
    ran, refused = document["files"]
    assert (ran["file"], ran["problems"]) == ("a_test.yaml", [])
    assert ran["tests"][0] == {
        "suite": "default/orders",
        "name": "an order reaches returns",
        "line": 6,
        "passed": True,
        "mismatches": [],
    }
    archive, returns, _ = ran["tests"][1]["mismatches"]
    assert (archive["trigger"], archive["mustMatch"]) == ("default/archive", True)
    assert archive["clauses"][0]["path"] == "filters[0].prefix"
    assert returns == {"trigger": "default/returns", "mustMatch": False, "clauses": []}
    assert (refused["file"], refused["tests"]) == ("b_test.yaml", [])
    assert refused["problems"][0]["line"] == 8


def test_the_document_says_that_all_passed(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)

    document = json.loads(cemesh_test("--output", "json").stdout)

    assert document["passed"] is True
    assert document["untestedTriggers"] == ["default/all", "default/archive"]


def test_the_document_says_that_a_file_could_not_be_run(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + WRONG)

    document = json.loads(cemesh_test("--output", "json").stdout)

    assert (document["passed"], document["failed"]) == (False, 0)


# --- JUnit ---------------------------------------------------------------------------------


def junit(folder: Path) -> ET.Element:
    report = folder / "report.xml"
    cemesh_test("--junit", str(report))
    return ET.fromstring(report.read_bytes())  # noqa: S314 - it was written here


def test_the_report_has_a_suite_for_every_file_and_a_case_for_every_test(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES + FAILS)
    (folder / "b_test.yaml").write_text(HEAD + PASSES)

    report = junit(folder)

    assert [
        (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors"))
        for suite in report
    ] == [("a_test.yaml", "2", "1", "0"), ("b_test.yaml", "1", "0", "0")]
    assert (report.get("tests"), report.get("failures"), report.get("errors")) == ("3", "1", "0")
    passed, failed = report[0]
    assert len(passed) == 0
    assert float(passed.get("time", "")) < 60
    assert {name: failed.get(name) for name in ("classname", "name", "file", "line")} == {
        "classname": "default.orders",
        "name": "an order is archived",
        "file": "a_test.yaml",
        "line": "9",
    }


def test_a_failure_in_the_report_has_a_message_and_the_difference(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + FAILS)

    (failure,) = junit(folder).iter("failure")

    assert failure.get("message") == (
        "archive must match, and does not; returns must not match, and does; "
        "all must not match, and does"
    )
    assert failure.text is not None
    assert failure.text.splitlines()[:3] == [
        "order  source=/shop/berlin  subject=1042  region=eu",
        "- archive  must match, and does not",
        '           filters[0].prefix source: "/shop/munich" ≠ "/shop/berlin"',
    ]


def test_a_file_that_cannot_be_run_is_an_error_in_the_report(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + WRONG)

    report = junit(folder)

    (error,) = report.iter("error")
    assert (report.get("tests"), report.get("errors")) == ("1", "1")
    assert error.get("message") == "1 problem"
    assert error.text is not None
    assert error.text.startswith("a_test.yaml:8: TriggerTest default/orders")


def test_the_report_holds_what_xml_cannot(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(
        HEAD
        + '    - name: "null \\0 escape \\e ]]> <b> \\ufffe"\n'
        + '      event: {type: "a]]>&", source: /}\n      matches: [archive]\n'
    )

    report = junit(folder)

    assert report[0][0].get("name") == "null \\u0000 escape \\u001b ]]> <b> \\ufffe"
    (failure,) = report.iter("failure")
    assert failure.text is not None
    assert failure.text.startswith("a]]>&  source=/\n")


def test_a_report_that_cannot_be_written_is_said(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + PASSES)

    result = cemesh_test("--junit", "nowhere/report.xml")

    assert result.exit_code == 1
    assert "nowhere/report.xml cannot be written: No such file or directory" in result.stderr


# --- the other commands --------------------------------------------------------------------


def test_the_manifests_of_a_folder_are_checked_without_its_tests(folder: Path) -> None:
    (folder / "a_test.yaml").write_text(HEAD + WRONG)

    result = CliRunner().invoke(cli, ["check", ".", *RESOLVE])

    assert result.exit_code == 0
    assert result.stdout == "1 broker, 3 triggers, 0 sources: 0 problems, 0 warnings\n"


def test_the_tests_of_the_quickstart_pass() -> None:
    result = CliRunner().invoke(cli, ["test", str(EXAMPLES / "quickstart")])

    assert result.exit_code == 0, result.stdout
    assert result.stderr == ""
