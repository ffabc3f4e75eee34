"""Tests of triggers: what stands in their files, and what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from broker.cli.testing import Ran, Refused, loader, run
from broker.errors import InvalidManifest
from broker.event import Event
from broker.manifest import load
from broker.manifest.triggertests import Case, read_suites
from broker.trigger import Desired

MANIFESTS = Path(__file__).parent / "manifests"
BAD = sorted((*(MANIFESTS / "tests").glob("*_test.yaml"), *(MANIFESTS / "misnamed").iterdir()))

MESH = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: orders, namespace: shop}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: billing, namespace: shop}
spec:
  broker: orders
  filters: [{exact: {type: order.placed}}]
  subscriber: {uri: http://billing/}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: returns, namespace: shop}
spec:
  broker: orders
  filters: [{prefix: {type: order.}}, {exact: {returned: "true"}}]
  subscriber: {uri: http://returns/}
"""
AUDIT = """\
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: audit, namespace: office}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: shelf, namespace: office}
spec:
  broker: audit
  subscriber: {uri: http://shelf/}
"""


def written(folder: Path, tests: str, *, spec: str = "", mesh: str = MESH) -> Path:
    """Write a file of tests, and the manifests beside it."""
    (folder / "mesh.yaml").write_text(mesh)
    file = folder / "orders_test.yaml"
    file.write_text(
        "apiVersion: cemesh.dev/v1alpha1\nkind: TriggerTest\nmetadata: {name: orders}\n"
        f"spec:\n  tests:\n    - {tests}\n{spec}"
    )
    return file


def manifests(paths: Sequence[Path]) -> Desired:
    return load(paths).desired


def only_case(file: Path) -> Case:
    (suite,) = read_suites(file, manifests)
    (case,) = suite.cases
    return case


def event(folder: Path, text: str) -> Event:
    return only_case(written(folder, f"{{name: a, event: {text}, matchesOnly: []}}")).event


def problems(file: Path) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        read_suites(file, manifests)
    return [str(problem) for problem in caught.value.problems]


# --- what is wrong with tests --------------------------------------------------------------


@pytest.mark.parametrize(
    "file", [file for file in BAD if file.suffix == ".yaml"], ids=lambda file: file.stem
)
def test_every_problem_of_bad_tests_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MANIFESTS)

    assert (
        problems(file.relative_to(MANIFESTS))
        == file.with_suffix(".problems").read_text().splitlines()
    )


@pytest.mark.parametrize("text", ["# Later.", "{apiVersion: v1, kind: List, items: []}"])
def test_a_file_without_an_object_is_a_problem(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a_test.yaml"
    file.write_text(text)

    assert problems(file) == [f"{file}: no TriggerTest in this file"]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "a_test.yaml"

    assert problems(file) == [f"{file}: cannot be read: no such file or folder"]


def test_problems_of_the_manifests_are_told_once_and_without_their_warnings(tmp_path: Path) -> None:
    deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    file = written(
        tmp_path,
        "{name: a, event: {type: a, source: /}, matches: [billing]}",
        mesh=MESH.replace("subscriber", "subscribers") + deployment,
    )
    file.write_text(f"{file.read_text()}\n---\n{file.read_text()}")

    told = problems(file)

    assert len(told) == len(set(told)) == 4
    assert all(": Trigger shop/" in problem for problem in told)


# --- events --------------------------------------------------------------------------------


def test_an_event_may_leave_out_its_id_and_specversion(tmp_path: Path) -> None:
    found = event(tmp_path, "{type: order.placed, source: /shop}")

    assert found.attributes == {
        "specversion": "1.0",
        "id": "test",
        "type": "order.placed",
        "source": "/shop",
    }
    assert found.data is None


def test_an_event_keeps_the_types_of_its_attributes(tmp_path: Path) -> None:
    found = event(tmp_path, '{type: a, source: /, id: "7", retries: 5, vip: true, zip: "01234"}')

    assert found.id == "7"
    assert found.attributes["retries"] == "5"
    assert found.attributes["vip"] == "true"
    assert found.attributes["zip"] == "01234"
    assert found.kinds == {"retries": "integer", "vip": "boolean"}


def test_a_time_needs_no_quotes(tmp_path: Path) -> None:
    found = event(tmp_path, "{type: a, source: /, time: 2026-11-22T08:00:00Z}")

    assert found.attributes["time"] == "2026-11-22T08:00:00Z"


def test_an_attribute_that_is_null_is_absent(tmp_path: Path) -> None:
    found = event(tmp_path, "{type: a, source: /, subject: null, id: ~}")

    assert "subject" not in found.attributes
    assert found.id == "test"


@pytest.mark.parametrize(
    ("text", "data", "content_type"),
    [
        ("data: {total: [1, 2.5]}", b'{"total": [1, 2.5]}', "application/json"),
        ("data: null", b"null", "application/json"),
        ("data: hello, datacontenttype: text/plain", b"hello", "text/plain"),
        ("data_base64: aGVsbG8=, datacontenttype: text/plain", b"hello", "text/plain"),
    ],
)
def test_an_event_has_data_as_in_the_json_format(
    tmp_path: Path, text: str, data: bytes, content_type: str
) -> None:
    found = event(tmp_path, f"{{type: a, source: /, {text}}}")

    assert found.data == data
    assert found.attributes["datacontenttype"] == content_type


def test_an_event_comes_from_a_file_beside_the_tests(tmp_path: Path) -> None:
    (tmp_path / "testdata").mkdir()
    (tmp_path / "testdata" / "order.json").write_bytes(
        b'{"specversion": "1.0", "id": "1", "source": "/", "type": "a", "data": {"b":  1}}'
    )
    file = written(tmp_path, "{name: a, eventFile: testdata/order.json, matchesOnly: []}")

    found = only_case(file).event

    assert found.id == "1"
    assert found.data == b'{"b":  1}'


# --- which triggers are meant --------------------------------------------------------------


def test_triggers_are_those_of_the_only_broker_of_the_folder(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "{name: a, event: {type: a, source: /}, matches: [billing], doesNotMatch: [shop/returns]}",
    )

    found = only_case(file)

    assert found.wanted == {"shop/billing": True, "shop/returns": False}
    assert found.named == {"shop/billing", "shop/returns"}


def test_matches_only_excludes_every_other_trigger_of_the_broker(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "{name: a, event: {type: a, source: /}, matchesOnly: [billing]}",
        spec="  broker: shop/orders\n",
        mesh=MESH + AUDIT,
    )

    found = only_case(file)

    assert found.wanted == {"shop/billing": True, "shop/returns": False}
    assert found.named == {"shop/billing"}


def test_the_namespace_chooses_among_several_brokers(tmp_path: Path) -> None:
    file = written(
        tmp_path, "{name: a, event: {type: a, source: /}, matches: [shelf]}", mesh=MESH + AUDIT
    )
    file.write_text(file.read_text().replace("name: orders", "name: orders, namespace: office"))

    assert only_case(file).wanted == {"office/shelf": True}


def test_manifests_are_found_from_where_the_tests_are(tmp_path: Path) -> None:
    for name in ("mesh", "tests"):
        (tmp_path / name).mkdir()
    file = written(
        tmp_path / "tests",
        "{name: a, event: {type: a, source: /}, matches: [billing]}",
        spec="  manifests: [../mesh]\n",
    )
    (tmp_path / "tests" / "mesh.yaml").replace(tmp_path / "mesh" / "mesh.yaml")

    assert only_case(file).wanted == {"shop/billing": True}


def test_a_test_has_the_line_that_it_begins_in_and_a_name_of_one_line(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "event: {type: a, source: /}\n"
        "      name: |\n        an order\n        from Berlin\n      matches: [billing]",
    )

    found = only_case(file)

    assert (found.line, found.name) == (6, "an order from Berlin")


# --- what comes out ------------------------------------------------------------------------


def ran(file: Path, *, only: str = "") -> Ran:
    outcome = run(file, loader({}), only=only)
    assert isinstance(outcome, Ran)
    return outcome


def test_a_test_passes_if_just_the_right_triggers_match(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "{name: a, event: {type: order.placed, source: /}, matches: [billing], "
        "doesNotMatch: [returns]}\n"
        "    - {name: b, event: {type: order.placed, source: /}, matchesOnly: [billing]}\n"
        "    - {name: c, event: {type: b, source: /, returned: true}, matchesOnly: []}",
    )

    results = ran(file).results

    assert [result.case.name for result in results] == ["a", "b", "c"]
    assert all(result.passed for result in results)


def test_a_trigger_that_must_match_and_does_not_fails_with_the_clauses(tmp_path: Path) -> None:
    file = written(tmp_path, "{name: a, event: {type: b, source: /}, matches: [returns, billing]}")

    (result,) = ran(file).results

    assert not result.passed
    assert [
        (each.trigger.key, each.wanted, [str(clause) for clause in each.clauses])
        for each in result.mismatches
    ] == [
        (
            "shop/returns",
            True,
            [
                'filters[0].prefix type: "order." ≠ "b"',
                'filters[1].exact returned: "true" ≠ (absent)',
            ],
        ),
        ("shop/billing", True, ['filters[0].exact type: "order.placed" ≠ "b"']),
    ]


@pytest.mark.parametrize("expectation", ["doesNotMatch: [billing]", "matchesOnly: []"])
def test_a_trigger_that_must_not_match_and_does_fails(tmp_path: Path, expectation: str) -> None:
    file = written(
        tmp_path, f"{{name: a, event: {{type: order.placed, source: /}}, {expectation}}}"
    )

    (result,) = ran(file).results

    assert [(each.trigger.key, each.wanted, each.clauses) for each in result.mismatches] == [
        ("shop/billing", False, ())
    ]


def test_tests_are_chosen_by_a_part_of_their_names(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "{name: An Order, event: {type: a, source: /}, matchesOnly: []}\n"
        "    - {name: a refund, event: {type: a, source: /}, matchesOnly: []}",
    )

    assert [result.case.name for result in ran(file, only="order").results] == ["An Order"]


def test_a_file_knows_its_triggers_and_those_that_its_tests_name(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "{name: a, event: {type: order.placed, source: /}, matches: [billing]}\n"
        "    - {name: b, event: {type: a, source: /}, matchesOnly: []}",
    )

    found = ran(file, only="b")

    assert found.triggers == {"shop/billing", "shop/returns"}
    assert found.named == {"shop/billing"}


def test_a_test_tells_how_long_it_took(tmp_path: Path) -> None:
    file = written(tmp_path, "{name: a, event: {type: a, source: /}, matchesOnly: []}")
    seconds = count(1.0, 0.5)

    outcome = run(file, loader({}), clock=lambda: next(seconds))

    assert isinstance(outcome, Ran)
    assert outcome.results[0].took == timedelta(seconds=0.5)


def test_a_file_that_cannot_be_run_tells_its_problems(tmp_path: Path) -> None:
    file = written(tmp_path, "{name: a, event: {type: a, source: /}, matches: [nobody]}")

    outcome = run(file, loader({}))

    assert isinstance(outcome, Refused)
    assert [problem.path for problem in outcome.problems] == ["spec.tests[0].matches[0]"]


def test_manifests_are_loaded_once_however_they_are_named(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text(MESH)
    found = loader({})

    first = found([tmp_path / ".." / tmp_path.name / "mesh.yaml"])
    mesh.write_text("")

    assert found([mesh, mesh]) is first


def test_bad_manifests_are_refused_each_time(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text("")
    found = loader({})

    for _ in range(2):
        with pytest.raises(InvalidManifest, match="the file is empty"):
            found([mesh])
        mesh.write_text(MESH)
