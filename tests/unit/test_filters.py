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
    never_matches,
)

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop/1", "type": "order", "count": "5"}


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


def sql(text: str) -> Filter:
    return Cesql(parse(text))


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
