"""What is wrong with a manifest is said all at once, in plain words, where it stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.errors import InvalidManifest
from broker.manifest import load

MANIFESTS = Path(__file__).parent / "manifests"
BAD = sorted((MANIFESTS / "bad").glob("*.yaml"))
TRIGGER_TEST = "apiVersion: cemesh.dev/v1alpha1\nkind: TriggerTest\nmetadata: {name: a}\n"


def refused(*paths: Path) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        load(paths)
    return [str(problem) for problem in caught.value.problems]


def written(folder: Path, text: str, name: str = "mesh.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("manifest", BAD, ids=lambda path: path.stem)
def test_every_problem_of_a_bad_manifest_is_told(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(MANIFESTS)

    problems = refused(manifest.relative_to(MANIFESTS))

    assert problems == manifest.with_suffix(".problems").read_text().splitlines()


def test_problems_of_all_files_are_told_in_the_order_of_the_files(tmp_path: Path) -> None:
    first = written(tmp_path, "kind: Broker\n", "b.yaml")
    second = written(tmp_path, "kind: Broker\n", "a.yaml")

    assert refused(first, second) == [
        f"{first}:1: not a Kubernetes object: 'apiVersion' is missing",
        f"{second}:1: not a Kubernetes object: 'apiVersion' is missing",
    ]


def test_a_twin_in_another_file_is_told_with_both_places(tmp_path: Path) -> None:
    broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n"
    written(tmp_path, broker, "a.yaml")
    written(tmp_path, f"# Again.\n{broker}", "b.yaml")

    assert refused(tmp_path) == [
        f"{tmp_path}/b.yaml:2: Broker default/default: declared twice; first in {tmp_path}/a.yaml:1"
    ]


def test_no_path_at_all_is_a_problem() -> None:
    assert refused() == ["no manifest is given"]


def test_a_path_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"

    assert refused(path) == [f"{path}: cannot be read: no such file or folder"]


def test_a_folder_without_manifests_is_a_problem(tmp_path: Path) -> None:
    written(tmp_path, "not for the mesh", "notes.txt")
    written(tmp_path, "a: b", ".hidden.yaml")

    assert refused(tmp_path) == [f"{tmp_path}: no *.yaml, *.yml or *.json in this folder"]


def test_a_folder_with_nothing_but_tests_is_a_problem(tmp_path: Path) -> None:
    written(tmp_path, TRIGGER_TEST, "mesh_test.yaml")

    assert refused(tmp_path) == [f"{tmp_path}: no *.yaml, *.yml or *.json in this folder"]


def test_tests_that_are_named_as_manifests_are_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, TRIGGER_TEST, "mesh_test.yaml")

    assert refused(path) == [
        f"{path}: holds tests, by its name, and no manifest: `cemesh test` runs it"
    ]


def test_tests_in_a_manifest_are_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, TRIGGER_TEST)

    (problem,) = refused(path)

    assert problem.startswith(f"{path}:2: TriggerTest default/a: kind: a TriggerTest is not run")
    assert problem.endswith("it belongs in a file whose name ends with _test.yaml")


def test_what_the_mesh_would_run_is_not_overlooked_in_a_file_of_tests(tmp_path: Path) -> None:
    broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n"
    foreign = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
    written(tmp_path, broker)
    path = written(tmp_path, f"{TRIGGER_TEST}---\n{foreign}---\n{broker}---\n[", "load_test.yaml")

    assert refused(tmp_path) == [
        f"{path}:9: Broker default/b: is overlooked in a file of tests: move it, or rename the file"
    ]


def test_an_event_among_manifests_is_told_from_an_object(tmp_path: Path) -> None:
    path = written(tmp_path, '{"specversion": "1.0", "id": "1"}', "order.json")

    assert refused(path) == [
        f"{path}:1: an event, not a Kubernetes object: keep those of tests in a folder 'testdata'"
    ]


def test_a_file_without_content_is_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, " \n")

    assert refused(path) == [f"{path}: the file is empty"]


def test_a_file_that_is_not_utf_8_is_a_problem_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_bytes(b"kind: Broker\nname: \xe4\n")

    assert refused(path) == [f"{path}:2: not UTF-8 text: invalid continuation byte"]


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)

    assert refused(path) == [f"{path}: cannot be read: Too many levels of symbolic links"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)

    assert refused(tmp_path) == [f"{path}: neither a regular file nor a folder"]


def test_what_may_stand_in_an_unreadable_file_is_not_called_missing(tmp_path: Path) -> None:
    unreadable = written(tmp_path, "a: [", "brokers.yaml")
    trigger = written(
        tmp_path,
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\n"
        "spec: {broker: default, subscriber: {uri: 'http://a'}}\n",
        "triggers.yaml",
    )

    problems = refused(unreadable, trigger)

    assert len(problems) == 1
    assert problems[0].startswith(f"{unreadable}:2: not valid YAML")


@pytest.mark.parametrize("value", ["hunter2\\n", "hunter2\\u200b", "hunter2 hunter2"])
def test_no_problem_shows_the_value_of_a_secret(tmp_path: Path, value: str) -> None:
    path = written(
        tmp_path,
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\n"
        "metadata: {name: b, annotations: {cemesh.dev/access: s}}\n---\n"
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
        f'data: {{a: hunter2!, b: [hunter2]}}\nstringData: {{c: "{value}"}}\n',
    )

    problems = refused(path)

    assert len(problems) == 3
    assert "hunter2" not in "".join(problems)


@pytest.mark.parametrize("password", ["*hunter2", "!hunter2", "&hunter2 [", "@hunter2", "{hunter2"])
def test_no_problem_shows_a_password_that_breaks_the_yaml(tmp_path: Path, password: str) -> None:
    path = written(
        tmp_path,
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
        f"stringData:\n  password: {password}\n---\nkind: x\n",
    )

    problems = refused(path)

    assert problems
    assert "hunter2" not in "".join(problems)
