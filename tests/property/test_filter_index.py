"""The index finds just what asking every filter would find."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from broker.filters import All, Any, Exact, Filter, FilterIndex, Legacy, Not, Prefix, Suffix

NAMES: Final = ("type", "source", "subject", "id", "count")
VALUES: Final = ("a", "ab", "b", "ba", "")

entries = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
    min_size=1,
    max_size=3,
    unique_by=lambda entry: entry[0],
).map(tuple)
leaves = st.one_of(*(entries.map(dialect) for dialect in (Exact, Prefix, Suffix, Legacy)))


def nested(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(several.map(All), several.map(Any), inner.map(Not))


filters = st.recursive(leaves, nested, max_leaves=8)
events = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))
# Some are put, some put again, some discarded: an index lives as long as its channel.
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | filters), max_size=20)


@given(steps=steps, event=events)
def test_the_index_finds_what_asking_every_filter_finds(
    steps: list[tuple[str, Filter | None]], event: dict[str, str]
) -> None:
    index = FilterIndex()
    put: dict[str, Filter] = {}
    for name, new in steps:
        if new is None:
            index.discard(name)
            put.pop(name, None)
        else:
            index.put(name, new)
            put[name] = new

    found = index.matching(event)

    assert sorted(found) == sorted(name for name, each in put.items() if each.matches(event))


@given(filter=filters, event=events)
def test_a_matching_event_carries_every_exact_term(filter: Filter, event: dict[str, str]) -> None:
    if filter.matches(event):
        assert filter.exact_terms().items() <= event.items()


@given(filter=filters, event=events)
def test_a_filter_and_its_negation_disagree(filter: Filter, event: dict[str, str]) -> None:
    assert filter.matches(event) is not Not(filter).matches(event)
