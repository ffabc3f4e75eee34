"""The dialects of filters, as Knative defines them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from broker.filters import (
    EVERYTHING,
    All,
    Any,
    Exact,
    Filter,
    FilterIndex,
    Legacy,
    Not,
    Prefix,
    Suffix,
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


class Counting:
    """A filter that counts how often it is asked."""

    def __init__(self, type: str) -> None:
        self._exact = Exact((("type", type),))
        self.asked = 0

    def matches(self, attributes: Mapping[str, str]) -> bool:
        self.asked += 1
        return self._exact.matches(attributes)

    def exact_terms(self) -> Mapping[str, str]:
        return self._exact.exact_terms()


def test_only_filters_that_could_match_are_asked() -> None:
    index = FilterIndex()
    filters = [Counting(f"type-{number}") for number in range(1_000)]
    for number, each in enumerate(filters):
        index.put(str(number), each)

    assert index.matching({**EVENT, "type": "type-7"}) == ["7"]
    assert sum(each.asked for each in filters) == 1
