"""The dialects of filters, as Knative defines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from broker.cesql import parse
from broker.filters import (
    EVERYTHING,
    All,
    Any,
    Cesql,
    Exact,
    Filter,
    FilterIndex,
    Legacy,
    Not,
    Prefix,
    Suffix,
    meaning,
    never_matches,
)
from broker.filters.covers import covers
from broker.filters.terms import Cover, Term, present

TYPE_A = Term("exact", "type", "a")
SOURCE_S = Term("exact", "source", "s")
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop/1", "type": "order", "count": "5"}


def sql(text: str) -> Filter:
    return Cesql(parse(text))


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (Exact((("type", "order"),)), True),
        (Exact((("type", "Order"),)), False),
        (Exact((("type", "order"), ("source", "/shop/2"))), False),
        (Exact((("subject", "a"),)), False),
        (Exact((("count", "5"),)), True),
        (Prefix((("source", "/shop/"),)), True),
        (Prefix((("source", "/shop/"), ("type", "x"))), False),
        (Prefix((("source", "shop"),)), False),
        (Prefix((("subject", "a"),)), False),
        (Suffix((("source", "/1"),)), True),
        (Suffix((("source", "/shop"),)), False),
        (Suffix((("subject", "a"),)), False),
        (Legacy((("type", "order"),)), True),
        (Legacy((("type", "other"),)), False),
        (Legacy((("type", ""),)), True),
        (Legacy((("subject", ""),)), False),
        (All((Exact((("type", "order"),)), Prefix((("source", "/"),)))), True),
        (All((Exact((("type", "order"),)), Prefix((("source", "x"),)))), False),
        (Any((Exact((("type", "x"),)), Prefix((("source", "/"),)))), True),
        (Any((Exact((("type", "x"),)), Prefix((("source", "x"),)))), False),
        (Any(()), False),
        (Not(Exact((("type", "order"),))), False),
        (Not(Exact((("subject", "a"),))), True),
        (Not(Not(Exact((("type", "order"),)))), True),
        (EVERYTHING, True),
    ],
)
def test_a_filter_matches_as_its_dialect_says(filter: Filter, expected: bool) -> None:
    assert filter.matches(EVENT) is expected


def test_a_filter_put_again_takes_the_place_of_the_first() -> None:
    index = FilterIndex()
    index.put("a", Exact((("type", "order"),)))

    index.put("a", Exact((("type", "other"),)))

    assert index.matching(EVENT) == []
    assert index.matching({**EVENT, "type": "other"}) == ["a"]


def test_a_discarded_filter_matches_no_more() -> None:
    index = FilterIndex()
    index.put("a", EVERYTHING)
    index.put("b", Exact((("type", "order"),)))

    index.discard("a")
    index.discard("b")
    index.discard("never put")

    assert index.matching(EVENT) == []


class Counting(Exact):
    """A filter on two attributes that counts how often it is asked."""

    asked = 0

    def matches(self, attributes: Mapping[str, str]) -> bool:
        Counting.asked += 1
        return super().matches(attributes)


@pytest.mark.parametrize(
    "around",
    [
        lambda n: All((Prefix((("source", f"/shop/{n}/"),)),)),
        lambda n: All((Suffix((("source", f"/{n}/x"),)),)),
        lambda n: Any((Exact((("type", f"type-{n}"),)), Exact((("id", f"id-{n}"),)))),
        lambda n: Not(Any((Not(Exact((("type", f"type-{n}"),))), Prefix((("id", "9"),))))),
        lambda n: Legacy((("source", ""), ("subject", ""), ("type", f"type-{n}"))),
        lambda n: sql(f"type = 'type-{n}' AND LENGTH(source) > 1"),
        lambda n: sql(f"'type-{n}' = type OR source LIKE '/shop/{n}/%'"),
        lambda n: sql(f"LENGTH(source) > 1 AND source LIKE '%/{n}/x'"),
        lambda n: sql(f"type IN ('type-{n}', 'other-{n}') AND NOT (source = 'x')"),
        lambda n: sql(f"INT(extension{n}) > 5"),
    ],
)
def test_only_filters_that_could_match_are_asked(around: Callable[[int], Filter]) -> None:
    index = FilterIndex()
    for number in range(1_000):
        never_asked = Counting((("specversion", "1.0"), ("id", "1")))
        index.put(str(number), All((never_asked, around(number))))
    Counting.asked = 0

    found = index.matching(
        {**EVENT, "type": "type-7", "source": "/shop/7/x", "subject": "x", "extension7": "6"}
    )

    assert found == ["7"]
    assert Counting.asked <= 100  # of 1,000


def test_of_several_parts_a_filter_is_looked_up_by_the_one_that_tells_most() -> None:
    index = FilterIndex()
    for number in range(1_000):
        common = ("type", "order"), ("datacontenttype", "application/json")
        index.put(str(number), Counting((*common, ("subject", f"{number}"))))
    Counting.asked = 0

    event = {**EVENT, "datacontenttype": "application/json", "subject": "7"}

    assert index.matching(event) == ["7"]
    assert Counting.asked <= 2


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (Exact((("type", "a"),)), [Cover((TYPE_A,), decisive=True)]),
        (Exact((("source", "s"), ("type", "a"))), [Cover((SOURCE_S,)), Cover((TYPE_A,))]),
        (Prefix((("type", "a"),)), [Cover((Term("prefix", "type", "a"),), decisive=True)]),
        (Suffix((("type", "a"),)), [Cover((Term("suffix", "type", "a"),), decisive=True)]),
        (Legacy((("type", ""),)), [Cover((present("type"),), decisive=True)]),
        (All((Exact((("type", "a"),)),)), [Cover((TYPE_A,), decisive=True)]),
        (
            Any((Exact((("type", "a"),)), Exact((("source", "s"),)))),
            [Cover((TYPE_A, SOURCE_S), decisive=True)],
        ),
        (
            Any((Exact((("type", "a"), ("id", "1"))), Exact((("source", "s"),)))),
            [Cover((Term("exact", "type", "a"), SOURCE_S))],
        ),
        (Any((Exact((("type", "a"),)), Not(Exact((("source", "s"),))))), []),
        (Not(Exact((("type", "a"),))), []),
        (Not(All((Exact((("type", "a"),)), Not(Exact((("source", "s"),)))))), []),
        (
            Not(All((Not(Exact((("type", "a"),))), Not(Exact((("source", "s"),)))))),
            [Cover((TYPE_A, SOURCE_S), decisive=True)],
        ),
        (
            Not(Any((Exact((("id", "1"),)), Not(Exact((("type", "a"),)))))),
            [Cover((TYPE_A,))],
        ),
        (EVERYTHING, []),
    ],
)
def test_a_filter_is_covered_by_what_its_events_must_carry(
    filter: Filter, expected: list[Cover]
) -> None:
    assert covers(filter, by_length) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type = 'a'", [Cover((TYPE_A,), decisive=True)]),
        ("'a' = type", [Cover((TYPE_A,), decisive=True)]),
        ("type LIKE 'a'", [Cover((TYPE_A,), decisive=True)]),
        ("NOT NOT (type = 'a')", [Cover((TYPE_A,), decisive=True)]),
        ("type LIKE 'a%'", [Cover((Term("prefix", "type", "a"),), decisive=True)]),
        ("type LIKE '%a'", [Cover((Term("suffix", "type", "a"),), decisive=True)]),
        (
            "type LIKE 'a%b'",
            [Cover((Term("prefix", "type", "a"),)), Cover((Term("suffix", "type", "b"),))],
        ),
        ("type LIKE 'a_'", [Cover((Term("prefix", "type", "a"),))]),
        ("type LIKE '_a%_'", [Cover((present("type"),))]),
        ("EXISTS type", [Cover((present("type"),), decisive=True)]),
        (
            "type IN ('a', 5, TRUE)",
            [
                Cover(
                    (TYPE_A, Term("exact", "type", "5"), Term("exact", "type", "true")),
                    decisive=True,
                )
            ],
        ),
        ("type IN ('a', source)", [Cover((present("type"),))]),
        ("type = 5", [Cover((present("type"),))]),
        ("type = source", [Cover((present("type"),)), Cover((present("source"),))]),
        ("type != 'a'", [Cover((present("type"),))]),
        ("NOT (type = 'a')", [Cover((present("type"),))]),
        ("NOT (type = 'a' AND source = 's')", [Cover((present("type"),))]),
        ("-type < 5", [Cover((present("type"),))]),
        ("type + source > 5", [Cover((present("type"),)), Cover((present("source"),))]),
        ("LENGTH(type) > 5", [Cover((present("type"),))]),
        ("type = 'a' AND source = 's'", [Cover((TYPE_A,)), Cover((SOURCE_S,))]),
        # The one that is true may stand behind one that errs, and then nothing passes.
        ("type = 'a' OR source = 's'", [Cover((TYPE_A, SOURCE_S)), Cover((present("type"),))]),
        ("type = 'a' OR TRUE", [Cover((present("type"),))]),
        (
            "type = 'a' XOR source = 's'",
            [Cover((present("type"),)), Cover((present("source"),))],
        ),
        ("TRUE", []),
        ("TRUE OR type = 'a'", []),
    ],
)
def test_an_expression_is_covered_by_what_its_events_must_carry(
    text: str, expected: list[Cover]
) -> None:
    assert covers(sql(text), by_length) == expected


def by_length(cover: Cover) -> int:
    return sum(len(term.text) for term in cover.terms if term.attribute == "id")


def test_an_attribute_of_many_values_is_still_looked_up() -> None:
    index = FilterIndex()
    index.put("berlin", Prefix((("source", "/berlin/"),)))
    index.put("munich", Suffix((("source", "/munich"),)))
    index.put("both", Exact((("source", "/berlin/0/munich"),)))

    for number in range(3_000):
        assert index.matching({**EVENT, "source": f"/shop/{number}"}) == []

    assert index.matching({**EVENT, "source": "/berlin/1"}) == ["berlin"]
    found = index.matching({**EVENT, "source": "/berlin/0/munich"})
    assert sorted(found) == ["berlin", "both", "munich"]
    index.discard("both")
    assert index.matching({**EVENT, "source": "/berlin/1"}) == ["berlin"]
    index.discard("munich")
    for number in range(3_000):
        index.matching({**EVENT, "source": f"/shop/{number}"})
    assert index.matching({**EVENT, "source": "/berlin/1/munich"}) == ["berlin"]


@pytest.mark.parametrize(
    "later",
    [
        Exact((("source", "/shop/1"),)),
        Prefix((("source", "/shop/1"),)),
        Suffix((("source", "1"),)),
    ],
)
def test_what_was_found_for_a_value_is_forgotten_when_filters_change(later: Filter) -> None:
    index = FilterIndex()
    index.put("first", Prefix((("source", "/shop"),)))
    assert index.matching(EVENT) == ["first"]

    index.put("later", later)
    assert sorted(index.matching(EVENT)) == ["first", "later"]

    index.discard("later")
    assert index.matching(EVENT) == ["first"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Legacy((("type", ""),)), Legacy((("type", "a"),))),
        (Legacy((("type", ""),)), Exact((("type", "a"),))),
        (Exact((("type", "a"),)), Prefix((("type", "a"),))),
        (Not(Exact((("type", "a"),))), Exact((("type", "a"),))),
        (
            Any((Exact((("type", "a"),)), Exact((("id", "1"),)))),
            All((Exact((("type", "a"),)), Exact((("id", "1"),)))),
        ),
        (sql("type = 'a'"), sql("type = 'b'")),
    ],
)
def test_filters_that_say_different_things_differ_in_meaning(one: Filter, other: Filter) -> None:
    assert meaning(one) != meaning(other)


def test_a_filter_found_by_several_of_its_parts_is_named_once() -> None:
    index = FilterIndex()
    index.put("a", Any((Exact((("type", "order"),)), Prefix((("source", "/shop"),)))))
    index.put("b", EVERYTHING)

    assert sorted(index.matching(EVENT)) == ["a", "b"]


@pytest.mark.parametrize(
    ("filter", "why"),
    [
        (
            All((Exact((("type", "a"),)), Exact((("type", "b"),)))),
            """'type' cannot be "a" and be "b" at once""",
        ),
        (
            All((Exact((("type", "a"),)), All((Prefix((("type", "b"),)),)))),
            """'type' cannot be "a" and begin with "b" at once""",
        ),
        (
            All((Prefix((("source", "/a"),)), Prefix((("source", "/b"),)))),
            """'source' cannot begin with "/a" and begin with "/b" at once""",
        ),
        (
            All((Suffix((("source", "a"),)), Exact((("source", "b"),)))),
            """'source' cannot end with "a" and be "b" at once""",
        ),
        (
            All((Suffix((("source", "a"),)), Suffix((("source", "b"),)))),
            """'source' cannot end with "a" and end with "b" at once""",
        ),
        (
            sql("type = 'a' AND source = 'x' AND type = 'b'"),
            """'type' cannot be "a" and be "b" at once""",
        ),
        (
            All((Exact((("type", "a"),)), sql("type LIKE 'b%'"))),
            """'type' cannot be "a" and begin with "b" at once""",
        ),
        (
            All((Exact((("type", "a"),)), Not(Prefix((("type", "a"),))))),
            """one part demands 'type' to be "a", another excludes it""",
        ),
        (
            All((Exact((("type", "a"),)), sql("LENGTH(type) = 2"))),
            """one part demands 'type' to be "a", another excludes it""",
        ),
        (
            Any((sql("type = 'a' AND type = 'b'"), sql("id = 'a' AND id = 'b'"))),
            """'type' cannot be "a" and be "b" at once""",
        ),
    ],
)
def test_a_filter_that_contradicts_itself_is_found(filter: Filter, why: str) -> None:
    assert never_matches(filter) == why
    assert never_matches(All((Exact((("id", "1"),)), filter))) == why


@pytest.mark.parametrize(
    "filter",
    [
        EVERYTHING,
        All((Exact((("type", "ab"),)), Prefix((("type", "a"),)), Suffix((("type", "b"),)))),
        All((Prefix((("type", "a"),)), Prefix((("type", "ab"),)), Suffix((("type", "c"),)))),
        All((Exact((("type", "a"),)), Not(Exact((("type", "a"), ("source", "b")))))),
        Any((Exact((("type", "a"),)), Exact((("type", "b"),)))),
        Any((sql("type = 'a' AND type = 'b'"), Exact((("type", "b"),)))),
        sql("type = 'a' OR type = 'b'"),
        Not(Any((Exact((("type", "a"),)), Exact((("type", "b"),))))),
    ],
)
def test_a_filter_that_something_can_pass_is_not_doubted(filter: Filter) -> None:
    assert never_matches(filter) is None
