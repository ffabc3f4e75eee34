"""The built-in functions: section 3.5 of CESQL 1.0."""

from __future__ import annotations

import pytest

from broker.cesql import parse
from broker.cesql.functions import BUILT_IN, find

Value = str | int | bool


def outcome(text: str, **attributes: Value) -> tuple[Value, str | None]:
    evaluation = parse(text).evaluate(attributes)
    return evaluation.value, evaluation.error.kind if evaluation.error else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LENGTH('order')", 5),
        ("LENGTH('')", 0),
        ("LENGTH('Grüße')", 5),
        ("LENGTH('🎉')", 1),
        ("LENGTH(1234)", 4),
        ("LENGTH(FALSE)", 5),
        ("CONCAT()", ""),
        ("CONCAT('a')", "a"),
        ("CONCAT('a', 1, TRUE)", "a1true"),
        ("CONCAT_WS('-')", ""),
        ("CONCAT_WS('-', 'a')", "a"),
        ("CONCAT_WS('-', 'a', 'b', 3)", "a-b-3"),
        ("CONCAT_WS(', ', '', '')", ", "),
        ("LOWER('ÄbC')", "äbc"),
        ("UPPER('äBc')", "ÄBC"),
        ("TRIM('  a b\t\n')", "a b"),
        ("TRIM('\u2003a\u00a0\u3000')", "a"),
        ("TRIM('a')", "a"),
        ("LEFT('order', 2)", "or"),
        ("LEFT('order', 0)", ""),
        ("LEFT('order', 9)", "order"),
        ("LEFT('🎉🎊', 1)", "🎉"),
        ("LEFT(12345, '3')", "123"),
        ("RIGHT('order', 2)", "er"),
        ("RIGHT('order', 0)", ""),
        ("RIGHT('order', 9)", "order"),
        ("SUBSTRING('order', 1)", "order"),
        ("SUBSTRING('order', 3)", "der"),
        ("SUBSTRING('order', 5)", "r"),
        ("SUBSTRING('order', -1)", "r"),
        ("SUBSTRING('order', -5)", "order"),
        ("SUBSTRING('order', 0)", ""),
        ("SUBSTRING('order', 2, 3)", "rde"),
        ("SUBSTRING('order', 2, 0)", ""),
        ("SUBSTRING('order', 2, 99)", "rder"),
        ("SUBSTRING('order', -3, 2)", "de"),
        ("SUBSTRING('order', 0, 2)", ""),
        ("SUBSTRING('', 0)", ""),
        ("ABS(5)", 5),
        ("ABS(-5)", 5),
        ("ABS('-5')", 5),
        ("ABS(-2147483647)", 2147483647),
    ],
)
def test_a_function_returns_what_the_specification_says(text: str, expected: Value) -> None:
    assert outcome(text) == (expected, None)


def test_trim_leaves_control_characters_alone_that_are_no_blanks() -> None:
    assert outcome("TRIM(a)", a="\x1f\x1cid\x00\u200b") == ("\x1f\x1cid\x00\u200b", None)


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("LEFT('order', -1)", "order", "functionEvaluation"),
        ("RIGHT('order', -1)", "order", "functionEvaluation"),
        ("SUBSTRING('order', 6)", "", "functionEvaluation"),
        ("SUBSTRING('order', -6)", "", "functionEvaluation"),
        ("SUBSTRING('order', 6, 1)", "", "functionEvaluation"),
        ("SUBSTRING('order', -6, 1)", "", "functionEvaluation"),
        ("SUBSTRING('order', 2, -1)", "", "functionEvaluation"),
        ("SUBSTRING('', 1)", "", "functionEvaluation"),
        ("ABS(-2147483648)", 2147483647, "math"),
        ("INT('order')", 0, "cast"),
        ("BOOL('order')", False, "cast"),
        ("LEFT('order', 'two')", "", "cast"),
    ],
)
def test_a_function_that_errs_returns_a_value_all_the_same(
    text: str, value: Value, kind: str
) -> None:
    assert outcome(text) == (value, kind)


@pytest.mark.parametrize(
    "text",
    ["UNKNOWN()", "UNKNOWN(1, missing)", "LENGTH()", "LENGTH('a', 'b')", "CONCAT_WS()",
     "SUBSTRING('a')", "SUBSTRING('a', 1, 1, 1)", "INT()", "ABS(1, 2)", "LEFT('a')"],
)  # fmt: skip
def test_a_call_that_no_function_takes_is_false_with_an_error(text: str) -> None:
    assert outcome(text) == (False, "missingFunction")


def test_a_call_that_is_not_reached_is_no_error() -> None:
    assert outcome("FALSE AND UNKNOWN()") == (False, None)


def test_every_function_of_the_specification_is_there_with_its_overloads() -> None:
    arities = {name: [len(each.parameters) for each in BUILT_IN[name]] for name in BUILT_IN}

    assert arities == {
        "ABS": [1],
        "BOOL": [1],
        "CONCAT": [0],
        "CONCAT_WS": [1],
        "INT": [1],
        "LEFT": [2],
        "LENGTH": [1],
        "LOWER": [1],
        "RIGHT": [2],
        "STRING": [1],
        "SUBSTRING": [2, 3],
        "TRIM": [1],
        "UPPER": [1],
    }
    assert [name for name in BUILT_IN if find(name, 9)] == ["CONCAT", "CONCAT_WS"]


def test_a_function_is_told_apart_from_its_overloads_by_the_number_of_arguments() -> None:
    assert outcome("SUBSTRING('order', 2)") == ("rder", None)
    assert outcome("SUBSTRING('order', 2, 1)") == ("r", None)
