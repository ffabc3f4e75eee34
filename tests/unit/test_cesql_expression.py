"""Expressions as values, as filters of events, as text, and what in them is doubtful."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from broker.cesql import Doubt, Evaluation, parse
from broker.cesql.tree import Combine, operands
from broker.event import Event

ORDER = {"specversion": "1.0", "id": "1", "source": "/shop/1", "type": "order", "count": "5"}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("type = 'order' AND source LIKE '/shop/%' AND INT(count) > 4", True),
        ("type = 'order' AND source LIKE '/shop/%' AND INT(count) > 5", False),
        ("TRUE", True),
        ("FALSE", False),
        ("BOOL(count)", False),
        ("1", False),
        ("'true'", False),
        ("type", False),
        ("missing = 'a'", False),
        ("NOT (missing = 'a')", False),
        ("missing != 'a'", False),
        ("missing = 'a' OR TRUE", False),
        ("TRUE OR missing = 'a'", True),
        ("NOT UNKNOWN()", False),
        ("LEFT(type, -1) = 'order'", False),
    ],
)
def test_an_event_passes_only_on_true_without_any_error(text: str, passes: bool) -> None:
    expression = parse(text)

    assert expression.passes(ORDER) is passes
    assert expression.matches(Event(ORDER)) is passes


def test_an_event_routes_alike_whether_the_type_of_an_attribute_is_known_or_not() -> None:
    attributes = {**ORDER, "urgent": "true"}
    untyped = Event(attributes)
    typed = Event(attributes, kinds={"count": "integer", "urgent": "boolean"})

    for text in ("count = 5", "count = '5'", "count < 6", "urgent = TRUE", "BOOL(urgent)"):
        assert parse(text).matches(untyped)
        assert parse(text).matches(typed)
    for text in ("urgent", "'05' = count", "urgent = 'TRUE'"):
        assert not parse(text).matches(untyped)
        assert not parse(text).matches(typed)


def test_an_evaluation_has_a_value_and_perhaps_an_error() -> None:
    assert parse("INT(count) + 1").evaluate(ORDER) == Evaluation(6)
    erred = parse("missing + 1").evaluate(ORDER)
    assert erred.value == 0
    assert erred.error is not None
    assert (erred.error.kind, erred.error.message) == ("missingAttribute", "no attribute 'missing'")


def test_expressions_are_values_that_are_equal_by_their_text() -> None:
    assert parse("a = 1") == parse("a = 1")
    assert hash(parse("a = 1")) == hash(parse("a = 1"))
    assert parse("a = 1") != parse("a  =  1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse("a = 1").text = "b"  # type: ignore[misc]


def test_the_repr_is_the_same_in_every_process() -> None:
    text = "a IN ('x', 'y', 'z') AND b LIKE 'it\\'s %'"
    code = f"from broker.cesql import parse; print(repr(parse({text!r})))"

    printed = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }

    assert printed == {f"parse({text!r})"}


def test_an_expression_tells_the_attributes_that_it_looks_at() -> None:
    text = "a = 1 AND NOT EXISTS b OR LENGTH(c) IN (d, -e + 1) XOR f LIKE '%' AND a < 'x'"

    assert parse(text).attributes == {"a", "b", "c", "d", "e", "f"}
    assert parse("1 = 1").attributes == frozenset()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("type='order'and SOURCE like'/%'", "type = 'order' AND source LIKE '/%'"),
        ("((a)) = (((1)))", "a = 1"),
        ("(a AND b) OR c", "a AND b OR c"),
        ("a AND (b OR c)", "a AND (b OR c)"),
        ("a AND (b AND c)", "a AND (b AND c)"),
        ("(a + b) - (c - d)", "a + b - (c - d)"),
        ("(a * b) + c * d", "a * b + c * d"),
        ("(a + b) * c", "(a + b) * c"),
        ("(a = b) = c", "a = b = c"),
        ("a = (b = c)", "a = (b = c)"),
        ("(NOT a) = b", "NOT a = b"),
        ("NOT (a = b)", "NOT (a = b)"),
        ("NOT (NOT a)", "NOT NOT a"),
        ("NOT (a LIKE 'x')", "a NOT LIKE 'x'"),
        ("(NOT a) LIKE 'x'", "NOT a LIKE 'x'"),
        ("NOT (a NOT IN (1))", "NOT (a NOT IN (1))"),
        ("(a LIKE 'x') IN (true)", "a LIKE 'x' IN (true)"),
        ("(a = b) LIKE 'x'", "(a = b) LIKE 'x'"),
        ("a <> b", "a != b"),
        ("not (exists B)", "NOT EXISTS b"),
        ("-(5)", "- 5"),
        ("-(-5)", "--5"),
        ("-(- 5)", "-- 5"),
        ("-(3d)", "- 3d"),
        ("-a", "-a"),
        ("-(a + b)", "-(a + b)"),
        ("+5", "5"),
        ("a - -5", "a - -5"),
        ("a -5", "a - 5"),
        ("left( a,(1 + 2) )", "LEFT(a, 1 + 2)"),
        ("concat()", "CONCAT()"),
        ("a in((b or c),'x')", "a IN (b OR c, 'x')"),
        ('"it\'s"', r"'it\'s'"),
        (r'"\'"', r'''"\'"'''),
        (r"'\"'", r"""'\"'"""),
        (r"""'\\\' \"'""", r"""'\\\' \"'"""),
        (r"a LIKE '50\%_\''", r"a LIKE '50\%_\''"),
        ("TRUE", "true"),
    ],
)
def test_the_canonical_text_has_no_parentheses_but_those_needed(text: str, printed: str) -> None:
    expression = parse(text)

    assert str(expression) == printed
    assert parse(printed).tree == expression.tree


def test_a_run_of_one_operator_is_taken_apart_from_left_to_right() -> None:
    tree = parse("a AND b AND (c OR d) AND (e AND f)").tree

    assert isinstance(tree, Combine)
    assert operands(tree) == [parse(each).tree for each in ("a", "b", "c OR d", "e AND f")]


def test_a_run_ends_where_another_operator_begins() -> None:
    tree = parse("a AND b OR c OR d").tree

    assert isinstance(tree, Combine)
    assert operands(tree) == [parse(each).tree for each in ("a AND b", "c", "d")]


@pytest.mark.parametrize(
    ("text", "column", "reading"),
    [
        ("a = 1 AND b = 2 OR c = 3", 17, "(a = 1 AND b = 2) OR c = 3"),
        ("a = 1 or b = 2 and c = 3", 16, "(a = 1 OR b = 2) AND c = 3"),
        ("a = 1 XOR b = 2 OR c = 3", 17, "(a = 1 XOR b = 2) OR c = 3"),
        (
            "a = 1 AND b = 2 AND c = 3 OR d = 4 OR e = 5 AND f = 6",
            27,
            "((a = 1 AND b = 2 AND c = 3) OR d = 4 OR e = 5) AND f = 6",
        ),
        ("a = 1 AND (b = 2) OR c = 3", 19, "(a = 1 AND b = 2) OR c = 3"),
        ("(a = 1) AND b = 2 OR c = 3", 19, "(a = 1 AND b = 2) OR c = 3"),
        ("NOT (a = 1 AND b = 2 OR c = 3)", 22, "(a = 1 AND b = 2) OR c = 3"),
        ("'Straße' = a AND b = 2 OR c = 3", 24, "('Straße' = a AND b = 2) OR c = 3"),
        ("'x or y' = a AND b = 'or' OR c = 3", 27, "('x or y' = a AND b = 'or') OR c = 3"),
    ],
)
def test_a_mixture_without_parentheses_is_doubted(text: str, column: int, reading: str) -> None:
    message = f"read from left to right, as {reading}: use parentheses"

    assert parse(text).doubts() == (Doubt(column, message),)


def test_every_mixture_is_doubted_on_its_own() -> None:
    text = "a = 1 AND (b = 2 OR c = 3 AND d = 4) OR BOOL(e = 5 XOR f = 6 OR g = 7)"

    assert [doubt.column for doubt in parse(text).doubts()] == [27, 38, 62]


@pytest.mark.parametrize(
    "text",
    [
        "a = 1 AND b = 2 AND c = 3",
        "(a = 1 AND b = 2) OR c = 3",
        "a = 1 AND (b = 2 OR c = 3)",
        "((a = 1 AND b = 2)) OR (c = 3 XOR d = 4)",
        "NOT a = TRUE",
        "(NOT a) = b",
        "NOT (a = b)",
        "NOT (a LIKE 'x')",
        "a NOT LIKE 'x' = b",
        "b = NOT a",
    ],
)
def test_what_parentheses_make_clear_is_not_doubted(text: str) -> None:
    assert parse(text).doubts() == ()


@pytest.mark.parametrize(
    ("text", "column", "reading"),
    [
        ("NOT type = 'a'", 1, "(NOT type) = 'a'"),
        ("a = 1 AND not  count > 5", 11, "(NOT count) > 5"),
        ("NOT type LIKE 'a%'", 1, "(NOT type) LIKE 'a%'"),
        ("NOT (type) IN ('a', 'b')", 1, "(NOT type) IN ('a', 'b')"),
        ("NOT NOT a = b", 1, "(NOT NOT a) = b"),
    ],
)
def test_a_negated_value_that_looks_like_a_negated_comparison_is_doubted(
    text: str, column: int, reading: str
) -> None:
    assert parse(text).doubts() == (Doubt(column, f"read as {reading}: use parentheses"),)


def test_a_long_reading_is_cut() -> None:
    text = " AND ".join(["a = 'x'"] * 50) + " OR b = 'y'"

    (doubt,) = parse(text).doubts()

    assert len(doubt.message) < 200
    assert "…" in doubt.message


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (
            "type = 'a' AND LENGHT(id) = 3",
            16,
            (
                "no function LENGHT with 1 argument (did you mean 'LENGTH'?); "
                "an event for which it is called does not pass"
            ),
        ),
        (
            "LEFT(id) = 'a'",
            1,
            "no function LEFT with 1 argument; an event for which it is called does not pass",
        ),
        (
            "urgent",
            1,
            "an attribute is text, so no event passes: write BOOL(urgent) for a flag",
        ),
        ("(LENGTH(id))", 2, "the result is an integer, never true, so no event passes"),
        ("'true'", 1, "the result is a string, never true, so no event passes"),
    ],
)
def test_what_can_never_pass_is_doubted(text: str, column: int, message: str) -> None:
    assert parse(text).doubts() == (Doubt(column, message),)


def test_doubts_come_from_left_to_right() -> None:
    text = "NOPE(id) AND a = 1 OR NOPE(a)"

    assert [doubt.column for doubt in parse(text).doubts()] == [1, 20, 23]
