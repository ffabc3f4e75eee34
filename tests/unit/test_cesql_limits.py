"""Hostile expressions are refused or evaluated quickly, and never exhaust the stack."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from broker.cesql import CesqlSyntaxError, Pattern, parse

# Seconds of the processor, thirty times what the slowest takes while coverage is measured: a host
# that takes the processor away counts as work, too. What is tried in every way that it could be
# read takes longer than anybody waits.
QUICK = 1.0


def refusal(text: str) -> CesqlSyntaxError:
    with pytest.raises(CesqlSyntaxError) as refused:
        parse(text)
    return refused.value


def seconds(work: Callable[[], object]) -> float:
    """Return the shortest of a few runs, not counting what others on the machine take."""
    times = []
    for _ in range(5):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


def outcome(text: str) -> object:
    try:
        expression = parse(text)
    except CesqlSyntaxError as refused:
        return refused
    return expression.evaluate({"a": "a" * 60_000}), expression.shortfalls({"a": "a" * 60_000})


def test_8_kib_of_utf_8_are_read_and_one_byte_more_is_refused() -> None:
    longest = f"'{'ü' * 4095}'"

    assert parse(longest).evaluate({}).value == "ü" * 4095
    refused = refusal(f"{longest} ")
    assert refused.column == 4098
    assert refused.expected == "at most 8192 bytes of UTF-8"


def test_the_column_of_what_is_too_long_is_the_first_character_that_does_not_fit() -> None:
    assert refusal(f"'{'世' * 2731}'").column == 2732


@pytest.mark.parametrize(
    ("opening", "closing", "place"),
    [
        ("(", ")", 0),
        ("NOT ", "", 0),
        ("- ", "", 0),
        ("ABS(", ")", 3),
        ("1 IN (", ")", 5),
        ("(a AND ", ")", 0),
    ],
)
def test_a_hundred_levels_are_read_and_one_more_is_refused(
    opening: str, closing: str, place: int
) -> None:
    parse(opening * 100 + "1" + closing * 100)

    refused = refusal(opening * 101 + "1" + closing * 101)

    assert refused.column == len(opening) * 100 + place + 1
    assert refused.expected == "at most 100 parentheses, NOT and '-' within one another"


@pytest.mark.parametrize(
    "text",
    [
        "1" + " = 1" * 1000,
        "1" + " + 1" * 1000,
        "1" + " LIKE '1'" * 600,
        "1" + " IN (1)" * 900,
        "1" + " AND 1 OR 1" * 400,
        "1 = 1 + (" * 99 + "1" + ")" * 99,
        "1 AND 1 = 1 + 1 * (" * 100 + "1" + ")" * 100,
    ],
)
def test_operators_of_other_kinds_within_one_another_are_limited(text: str) -> None:
    assert refusal(text).expected == "at most 150 operators within one another"


def test_what_stands_side_by_side_is_not_nested() -> None:
    for text in ("NOT a", "- 1 = b", "(a)", "ABS(a) IN (1)"):
        parse(" AND ".join([text] * 300))
    parse(f"CONCAT({', '.join(['NOT (a)'] * 300)})")


@pytest.mark.parametrize("operator", ["AND", "OR", "XOR"])
def test_a_run_of_one_logic_operator_may_be_as_long_as_it_fits(operator: str) -> None:
    attributes = {"a": "1", "b": "2"}
    text = f" {operator} ".join(["a=1"] * 700)

    expression = parse(text)

    assert expression.evaluate(attributes).value is (operator != "XOR")
    assert expression.attributes == {"a"}
    assert str(parse(str(expression))) == str(expression)
    assert expression == parse(text)
    assert hash(expression) == hash(parse(text))
    assert repr(expression) == f"parse({text!r})"
    assert expression.doubts() == ()
    wrong = parse(text.replace("a=1", "b=1"))
    assert len(wrong.shortfalls(attributes)) == (1 if operator == "XOR" else 700)


DEEPEST = [
    "(" * 100 + "1 = 1" + ")" * 100,
    "NOT " * 100 + "a",
    "- " * 100 + "1",
    "ABS(" * 100 + "1" + ")" * 100,
    "BOOL(" * 100 + "a" + ")" * 100,
    "1 = 1 + (" * 70 + "1" + ")" * 70,
    "LENGTH(1 + " * 70 + "a" + ")" * 70,
    "a IN (1 = " * 70 + "1" + ")" * 70,
    "(a AND " * 100 + "a" + ")" * 100,
    "(1 AND a OR NOT " * 50 + "1" + ")" * 50,
    "1" + " = 1" * 140,
    "1" + " AND a OR 1" * 70,
]


@pytest.mark.parametrize("text", DEEPEST)
def test_what_is_read_leaves_room_on_the_stack_wherever_it_is_used(text: str) -> None:
    def at(depth: int) -> None:
        if depth:
            at(depth - 1)
            return
        expression = parse(text)
        expression.evaluate({"a": "1"})
        expression.shortfalls({"a": "0"})
        expression.doubts()
        assert expression.attributes <= {"a"}
        assert parse(str(expression)).tree == expression.tree

    at(200)


HOSTILE = [
    "(" * 8192,
    "(" * 4096 + ")" * 4096,
    "NOT " * 2048,
    "NOT " * 2047 + "a",
    "-" * 8191 + "1",
    "- " * 4095 + "1",
    "%" * 8192,
    "1%" * 4095 + "1",
    "1 % " * 2047 + "1",
    "a LIKE '" + "%" * 8183 + "'",
    "a LIKE '" + "%a" * 4090 + "b'",
    "a LIKE '%" + "_a" * 4085 + "_b%'",
    "a LIKE '" + "_" * 8183 + "'",
    "a LIKE '" + "\\%" * 4091 + "'",
    "f(" * 4096,
    "a IN (" * 1365,
    "'" * 8191,
    "'" + "\\'" * 4095,
    '"' + "\\" * 8191,
    " " * 8192,
    "1" + "=1" * 4095,
    "EXISTS " * 1170,
    "_" * 8192,
    "9" * 8192,
    "é" * 4096,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_8_kib_of_nonsense_are_refused_or_evaluated_quickly(text: str) -> None:
    assert 8180 <= len(text.encode()) <= 8192

    assert seconds(lambda: outcome(text)) < QUICK


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%" + "_a" * 4090 + "%", "a" * 65_536),
        ("%" + "_a" * 4080 + "_b%", "a" * 65_536),
        ("%" + "_a" * 4080 + "_b%", ("a" * 7000 + "b") * 9),
        ("%" + "_a" * 4080 + "_bb%", "ab" * 32_768),
        ("%" + "a_a%" * 2047, "aaba" * 16_384),
        ("%" + "a_b%" * 2047, "acaaccaaccab" * 5_461),
        ("%" + "a" * 4000 + "_" + "a" * 4000 + "b%", "a" * 65_536),
        ("%a" * 4096 + "%b", "a" * 65_536),
        ("%_" * 4096, "a" * 65_536),
        ("_%" * 4096, "é" * 65_536),
    ],
    ids=lambda text: text[:12],
)
def test_a_pattern_of_8_kib_is_matched_with_64_kib_quickly(pattern: str, text: str) -> None:
    compiled = Pattern(pattern)

    assert seconds(lambda: compiled.matches(text)) < QUICK


@pytest.mark.parametrize("value", ["0" * 65_000 + "1", "9" * 65_000, "0" * 65_000 + "x"])
def test_a_long_attribute_is_cast_to_an_integer_quickly(value: str) -> None:
    expression = parse("INT(a) = 1")

    assert seconds(lambda: expression.evaluate({"a": value})) < QUICK


def test_joining_long_texts_many_times_is_limited() -> None:
    expression = parse(f"LENGTH(CONCAT({', '.join(['a'] * 2000)})) > 0")

    evaluation = expression.evaluate({"a": "a" * 60_000})

    assert evaluation.error is not None
    assert evaluation.error.kind == "functionEvaluation"
