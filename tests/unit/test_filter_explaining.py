"""Why an event does not pass a filter: the clause, its place, and the actual value."""

from __future__ import annotations

import pytest

from broker.cesql import parse
from broker.filters import (
    EVERYTHING,
    All,
    Any,
    Cesql,
    Exact,
    Filter,
    Legacy,
    Not,
    Prefix,
    Suffix,
    explain,
)

EVENT = {"specversion": "1.0", "id": "1", "source": "http://x/a", "type": "order", "count": "5"}

ORDER = Exact((("type", "order"),))
REFUND = Exact((("type", "refund"),))
HTTPS = Prefix((("source", "https://x/"),))
HTTP = Prefix((("source", "http://x/"),))


def told(filter: Filter) -> list[str]:
    return [str(clause) for clause in explain(filter, EVENT)]


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (REFUND, 'filters[0].exact type: "refund" ≠ "order"'),
        (HTTPS, 'filters[0].prefix source: "https://x/" ≠ "http://x/a"'),
        (Suffix((("source", "/b"),)), 'filters[0].suffix source: "/b" ≠ "http://x/a"'),
        (Any((REFUND,)), 'filters[0].any[0].exact type: "refund" ≠ "order"'),
        (All((ORDER, REFUND)), 'filters[0].all[1].exact type: "refund" ≠ "order"'),
        (Not(ORDER), 'filters[0].not.exact type: "order" matches "order"'),
        (Not(HTTP), 'filters[0].not.prefix source: "http://x/" matches "http://x/a"'),
        (Not(Not(REFUND)), 'filters[0].not.not.exact type: "refund" ≠ "order"'),
        (Cesql(parse("type = 'refund'")), "filters[0].cesql type = 'refund': type is \"order\""),
        (Not(Cesql(parse("type = 'order'"))), "filters[0].not.cesql type = 'order': is true"),
    ],
)
def test_a_clause_of_every_dialect_says_where_it_stands_and_what_was_there(
    item: Filter, line: str
) -> None:
    assert told(All((item,))) == [line]


def test_only_the_entries_that_failed_are_named() -> None:
    entries = (("count", "6"), ("source", "http://x/a"), ("type", "refund"))

    assert told(All((Exact(entries),))) == [
        'filters[0].exact count: "6" ≠ "5"',
        'filters[0].exact type: "refund" ≠ "order"',
    ]


def test_every_item_that_failed_is_named_at_its_place() -> None:
    assert told(All((REFUND, ORDER, Any((HTTPS, REFUND))))) == [
        'filters[0].exact type: "refund" ≠ "order"',
        'filters[2].any[0].prefix source: "https://x/" ≠ "http://x/a"',
        'filters[2].any[1].exact type: "refund" ≠ "order"',
    ]


def test_of_a_failed_any_every_alternative_is_named_however_deep() -> None:
    nested = Any((All((ORDER, HTTPS)), Not(Any((HTTP, REFUND)))))

    assert told(All((ORDER, nested))) == [
        'filters[1].any[0].all[1].prefix source: "https://x/" ≠ "http://x/a"',
        'filters[1].any[1].not.any[0].prefix source: "http://x/" matches "http://x/a"',
    ]


def test_of_a_negated_all_everything_is_named_since_all_of_it_is_true() -> None:
    assert told(All((Not(All((ORDER, HTTP))),))) == [
        'filters[0].not.all[0].exact type: "order" matches "order"',
        'filters[0].not.all[1].prefix source: "http://x/" matches "http://x/a"',
    ]


def test_a_missing_attribute_is_told_to_be_absent() -> None:
    (clause,) = explain(All((Exact((("subject", "a"),)),)), EVENT)

    assert str(clause) == 'filters[0].exact subject: "a" ≠ (absent)'
    assert (clause.attribute, clause.expected, clause.actual) == ("subject", "a", None)


def test_the_older_form_is_explained_at_its_own_place() -> None:
    entries = (("count", ""), ("subject", ""), ("type", "refund"))

    assert told(Legacy(entries)) == [
        "filter.attributes subject: any value ≠ (absent)",
        'filter.attributes type: "refund" ≠ "order"',
    ]


def test_every_part_of_an_expression_that_failed_is_named_with_its_values() -> None:
    expression = parse("type = 'order' AND int(count) > 5 AND EXISTS subject")

    assert [
        (clause.path, clause.attribute, clause.expected)
        for clause in explain(All((ORDER, Cesql(expression))), EVENT)
    ] == [
        ("filters[1].cesql", None, "int(count) > 5"),
        ("filters[1].cesql", None, "EXISTS subject"),
    ]


@pytest.mark.parametrize("filter", [EVERYTHING, All((ORDER, Not(HTTPS))), Legacy((("id", ""),))])
def test_there_is_nothing_to_say_of_an_event_that_passes(filter: Filter) -> None:
    assert told(filter) == []


def test_a_long_value_is_cut_in_the_sentence_only() -> None:
    (clause,) = explain(All((REFUND,)), {"type": "x" * 129})

    assert str(clause) == f'filters[0].exact type: "refund" ≠ "{"x" * 128}…"'
    assert clause.actual == "x" * 129


def test_of_a_long_value_that_a_suffix_looks_at_the_end_is_shown() -> None:
    (clause,) = explain(All((Suffix((("type", ".b"),)),)), {"type": f"{'x' * 500}.a"})

    assert str(clause) == f'filters[0].suffix type: ".b" ≠ "…{"x" * 126}.a"'


def test_a_clause_is_one_line_however_its_expression_is_laid_out() -> None:
    expression = parse("type =\n    'refund'")

    (clause,) = explain(All((Cesql(expression),)), EVENT)

    assert str(clause) == "filters[0].cesql type = 'refund': type is \"order\""
    assert clause.expected == "type =\n    'refund'"


def test_a_value_cannot_break_out_of_its_quotes() -> None:
    (clause,) = explain(All((REFUND,)), {"type": 'a" ≠ "b\\'})

    assert str(clause) == r'filters[0].exact type: "refund" ≠ "a\" ≠ \"b\\"'
