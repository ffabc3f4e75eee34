"""YAML as the mesh reads it: values with lines, and no way to make it fall over."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.manifest.problems import Report
from broker.manifest.yamltree import Document, Json, read_documents

FILE = Path("mesh.yaml")


def documents(text: str) -> list[Document]:
    report = Report()
    found = read_documents(FILE, text.encode(), report)
    assert report.errors == ()
    return found


def value(text: str) -> Json:
    (document,) = documents(text)
    return document.value


def fault(text: str) -> str:
    report = Report()
    read_documents(FILE, text.encode(), report)
    (problem,) = report.errors
    return str(problem)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text", "text"),
        ("'5'", "5"),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("-0x1F", -31),
        ("0b101", 5),
        ("08", "08"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
        ("9" * 31, int("9" * 31)),
        ("9" * 5000, "9" * 5000),
        ("-", [None]),
        ("true", True),
        ("off", False),
        ("~", None),
        ("{a: }", {"a": None}),
        ("!!str 5", "5"),
        ("|\n  5", "5"),
        ("{on: 1, 2: b, ~: c}", {"on": 1, "2": "b", "~": "c"}),
    ],
)
def test_a_scalar_has_the_value_that_kubernetes_gives_it(text: str, expected: Json) -> None:
    assert value(f"a: {text}" if text != "-" else "a:\n-") == {"a": expected}


def test_a_place_has_the_line_where_its_name_stands() -> None:
    (document,) = documents("a: 1\nb:\n  c:\n    - 1\n    -\n      d: 2\n")

    lines = [document.line(loc) for loc in [("a",), ("b",), ("b", "c", 1, "d"), ("b", "x", "y")]]

    assert lines == [1, 2, 6, 2]


def test_an_alias_stands_for_what_it_names() -> None:
    text = "a: &x {b: [1]}\nc: *x\nd: &y text\ne: *y\n"

    assert value(text) == {"a": {"b": [1]}, "c": {"b": [1]}, "d": "text", "e": "text"}


def test_a_merge_key_adds_what_is_not_given() -> None:
    text = "- &x {a: 1, b: 1}\n- &y {b: 2, c: 2}\n- {<<: [*x, *y], c: 3}\n- {<<: *y}\n"

    assert value(text) == [
        {"a": 1, "b": 1},
        {"b": 2, "c": 2},
        {"a": 1, "b": 1, "c": 3},
        {"b": 2, "c": 2},
    ]


def test_a_merged_field_has_the_line_where_it_was_written() -> None:
    (document,) = documents("a: &x\n  b: 1\nc:\n  <<: *x\n")

    assert document.line(("c", "b")) == 2


def test_documents_without_content_are_passed_over() -> None:
    assert [each.value for each in documents("# nothing\n---\n---\na: 1\n---\n")] == [{"a": 1}]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert value("\ufeffa: 1") == {"a": 1}


def test_a_field_given_twice_is_a_problem_with_both_lines() -> None:
    assert fault("a:\n  b: 1\n  c: 1\n  b: 2\n") == "mesh.yaml:4: a.b: given twice; first in line 2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\n c: d", "mesh.yaml:2: not valid YAML: mapping values are not allowed"),
        ("a: 1\nb: \x01", "mesh.yaml:2: YAML text cannot contain U+0001"),
        ("a: *b", "mesh.yaml:1: an alias to nothing"),
        ("a: &b [*b]", "mesh.yaml:1: an alias to nothing"),
        ("a: !b c", "mesh.yaml:1: a: YAML tags are not supported"),
        ("a: !!python/name:os.system", "mesh.yaml:1: a: YAML tags are not supported"),
        ("{{ a }}: b", "mesh.yaml:1: the name of a field is not plain text"),
        ("<<: 1", "mesh.yaml:1: '<<' takes a mapping"),
        ("[" * 100_000, "mesh.yaml:1: nested more than 100 levels deep"),
        ("- " * 1_000, "mesh.yaml:1: nested more than 100 levels deep"),
        ("{a: " * 1_000, "mesh.yaml:1: nested more than 100 levels deep"),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(text: str, expected: str) -> None:
    assert fault(text).startswith(expected)


def test_a_tower_of_aliases_does_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]

    assert "aliases expand to more than 100,000 values" in fault("\n".join(lines))


def test_a_chain_of_aliases_is_no_way_round_the_limit_of_nesting() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200))]

    assert "nested more than 100 levels deep" in fault("\n".join(lines))


def test_what_stands_before_an_error_is_read() -> None:
    report = Report()

    found = read_documents(FILE, b"a: 1\n---\nb: [", report)

    assert [each.value for each in found] == [{"a": 1}]
    assert not report.complete
