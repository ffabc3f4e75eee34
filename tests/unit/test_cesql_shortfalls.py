"""Why an event does not pass an expression: the smallest parts that kept it out."""

from __future__ import annotations

import pytest

from broker.cesql import Shortfall, parse

ORDER = {"id": "1", "source": "/shop/1", "type": "order", "count": "3", "flag": "true"}


def told(text: str) -> list[tuple[int, str, str]]:
    return [(each.column, each.text, each.reason) for each in parse(text).shortfalls(ORDER)]


def test_what_passes_has_no_shortfalls() -> None:
    assert parse("type = 'order' AND (count = 3 OR missing = 1)").shortfalls(ORDER) == ()


def test_a_shortfall_has_its_column_its_own_text_and_the_actual_value() -> None:
    assert parse("type = 'order' AND  count  >  5").shortfalls(ORDER) == (
        Shortfall(column=21, text="count  >  5", reason='count is "3"'),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type = 'paid'", 'type is "order"'),
        ("'paid' = type", 'type is "order"'),
        ("type != 'order'", 'type is "order"'),
        ("count >= 5", 'count is "3"'),
        ("count = id", 'count is "3", id is "1"'),
        ("count + id = count * 2", 'count is "3", id is "1"'),
        ("source LIKE '/bank/%'", 'source is "/shop/1"'),
        ("source NOT LIKE '/shop/%'", 'source is "/shop/1"'),
        ("type IN ('a', 'b')", 'type is "order"'),
        ("type NOT IN ('order')", 'type is "order"'),
        ("EXISTS subject", "no attribute 'subject'"),
        ("BOOL(count - 3)", 'count is "3"'),
        ("flag = FALSE", 'flag is "true"'),
        ("(EXISTS subject) = flag", "no attribute 'subject', flag is \"true\""),
        ("1 = 2", "is false"),
        ("FALSE", "is false"),
        ("missing = 1", "no attribute 'missing'"),
        ("type = 1", 'cast: "order" is no integer'),
        ("5 / (count - 3) = 1", "math: division by zero"),
        ("FOO(type, 1)", "no function FOO with 2 arguments"),
        ("LEFT(type, 0 - count) = 'x'", "LEFT: the length -3 is negative"),
        ("SUBSTRING(type, 9) = 'x'", 'SUBSTRING: "order" has no position 9'),
    ],
)
def test_a_reason_tells_values_or_what_went_wrong(text: str, reason: str) -> None:
    assert told(text) == [(1, text, reason)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("count + 2", "the result is the integer 5, not true"),
        ("type", 'the result is the string "order", not true'),
        ("flag", 'the result is the string "true", not true'),
        ("1", "the result is the integer 1, not true"),
    ],
)
def test_a_result_that_is_no_boolean_is_told(text: str, reason: str) -> None:
    assert told(text) == [(1, text, reason)]


def test_a_false_and_tells_each_side_that_is_false() -> None:
    assert told("type = 'paid' AND count = 3 AND id = '2'") == [
        (1, "type = 'paid'", 'type is "order"'),
        (33, "id = '2'", 'id is "1"'),
    ]


def test_a_false_or_tells_both_sides() -> None:
    assert told("type = 'paid' OR count > 5") == [
        (1, "type = 'paid'", 'type is "order"'),
        (18, "count > 5", 'count is "3"'),
    ]


def test_what_is_false_is_looked_for_all_the_way_down() -> None:
    assert told("flag = TRUE AND (id = '2' OR (count = 3 AND NOT (type = 'order')))") == [
        (18, "id = '2'", 'id is "1"'),
        (50, "type = 'order'", 'is true: type is "order"'),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NOT flag", [(5, "flag", 'is true: flag is "true"')]),
        ("NOT (1 = 1)", [(6, "1 = 1", "is true")]),
        ("NOT EXISTS type", [(5, "EXISTS type", 'is true: type is "order"')]),
        (
            "NOT (type NOT LIKE 'x%')",
            [(6, "type NOT LIKE 'x%'", 'is true: type is "order"')],
        ),
        ("NOT NOT (id = '2')", [(10, "id = '2'", 'id is "1"')]),
        (
            "NOT (id = '2' OR type = 'order' OR flag)",
            [
                (18, "type = 'order'", 'is true: type is "order"'),
                (36, "flag", 'is true: flag is "true"'),
            ],
        ),
        (
            "NOT (flag AND type = 'order')",
            [
                (6, "flag", 'is true: flag is "true"'),
                (15, "type = 'order'", 'is true: type is "order"'),
            ],
        ),
        ("NOT (missing = 1)", [(6, "missing = 1", "no attribute 'missing'")]),
    ],
)
def test_what_is_true_under_not_is_told(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flag XOR 1 = 1", "both sides are true"),
        ("id = '2' XOR 1 = 2", "both sides are false"),
        ("flag XOR flag XOR id = '2'", "2 of the 3 sides are true"),
        ("id = '2' XOR id = '2' XOR id = '2'", "0 of the 3 sides are true"),
    ],
)
def test_an_exclusive_or_tells_how_many_sides_are_true(text: str, expected: str) -> None:
    assert told(text) == [(1, text, expected)]


def test_an_exclusive_or_under_not_is_told_as_true() -> None:
    assert told("NOT (flag XOR 1 = 2)") == [(6, "flag XOR 1 = 2", "is true")]


def test_the_side_of_an_exclusive_or_that_errs_is_told() -> None:
    assert told("flag XOR (id = '1' AND missing = 1)") == [
        (24, "missing = 1", "no attribute 'missing'")
    ]


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("missing = 1 AND gone = 2 AND id = '2'", ["missing = 1", "gone = 2", "id = '2'"]),
        ("EXISTS missing AND missing > 5", ["EXISTS missing"]),
        ("missing = 1 AND id = '2' AND gone = 2", ["missing = 1", "id = '2'"]),
        ("id = '2' OR missing = 1 OR type = 'order'", ["id = '2'", "missing = 1"]),
        ("missing = 1 OR type = 'order'", ["missing = 1"]),
        ("NOT (missing = 1 OR flag)", ["missing = 1", "flag"]),
        ("NOT (flag OR missing = 1)", ["flag"]),
        ("NOT (flag AND missing = 1)", ["flag", "missing = 1"]),
    ],
)
def test_errors_are_told_where_they_are_reached_and_no_further(text: str, texts: list[str]) -> None:
    assert [part for _, part, _ in told(text)] == texts


def test_long_values_are_cut_and_quoted_as_json() -> None:
    (cut,) = parse("a = 'x'").shortfalls({"a": "y" * 129})
    (whole,) = parse("a = 'x'").shortfalls({"a": "y" * 128})
    (quoted,) = parse("a = 'x'").shortfalls({"a": 'say "hi"\n\\ ü'})

    assert cut.reason == f'a is "{"y" * 128}…"'
    assert whole.reason == f'a is "{"y" * 128}"'
    assert quoted.reason == r'a is "say \"hi\"\n\\ ü"'
