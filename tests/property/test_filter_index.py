"""The index finds just what asking every filter would find, and so does what it is built on."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.filters import All, Any, Filter, FilterIndex, Legacy, Not, demands, never_matches
from broker.filters.covers import covers
from broker.filters.doubts import meaning
from broker.filters.prefixes import PrefixMap
from broker.filters.terms import Cover, Term
from tests.property.filters import events, filters, items

# Some are put, some put again, some discarded: an index lives as long as its channel.
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | filters), max_size=20)


@settings(max_examples=300)
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

        # At every step: what was found before for these values may not hold any more.
        found = index.matching(event)

        assert sorted(found) == sorted(name for name, each in put.items() if each.matches(event))


@given(filter=filters, event=events)
def test_a_matching_event_fulfils_every_demand(filter: Filter, event: dict[str, str]) -> None:
    if filter.matches(event):
        assert all(fulfils(event, term) for term in demands(filter))


@settings(max_examples=1_000)
@given(filter=filters, event=events, costs=st.randoms(use_true_random=False))
def test_a_matching_event_fulfils_a_term_of_every_cover(
    filter: Filter, event: dict[str, str], costs: Random
) -> None:
    def any_cost(_: Cover) -> int:
        return costs.randint(0, 3)

    for cover in covers(filter, any_cost):
        fulfilled = any(fulfils(event, term) for term in cover.terms)

        assert fulfilled or not filter.matches(event)
        assert filter.matches(event) or not (fulfilled and cover.decisive)


@given(filter=filters, event=events)
def test_a_filter_that_is_said_never_to_match_does_not_match(
    filter: Filter, event: dict[str, str]
) -> None:
    assert never_matches(filter) is None or not filter.matches(event)


@given(filter=items, event=events)
def test_a_filter_and_its_negation_disagree(filter: Filter, event: dict[str, str]) -> None:
    assert filter.matches(event) is not Not(filter).matches(event)


@given(filter=filters, other=filters, event=events)
def test_filters_of_one_meaning_match_alike(
    filter: Filter, other: Filter, event: dict[str, str]
) -> None:
    respelled = said_otherwise(filter)

    assert meaning(respelled) == meaning(filter)
    assert respelled.matches(event) is filter.matches(event)
    if meaning(filter) == meaning(other):
        assert filter.matches(event) is other.matches(event)


keys = st.sampled_from(("", "a", "aa", "aab", "ab", "aba", "abaa", "b"))


@settings(max_examples=500)
@given(
    steps=st.lists(st.tuples(keys, st.sampled_from((True, True, False))), max_size=30),
    text=st.sampled_from(("", "a", "ab", "abaab", "aabaa", "aaba", "baa")),
    backwards=st.booleans(),
)
@example(steps=[("a", True), ("aab", True), ("ab", True), ("", True)], text="aba", backwards=False)
def test_a_prefix_map_finds_every_prefix_of_a_text(
    steps: list[tuple[str, bool]], text: str, backwards: bool
) -> None:
    kept: dict[str, int] = {}
    found = PrefixMap[int](backwards=backwards)
    for number, (key, is_put) in enumerate(steps):
        if is_put:
            found.put(key, number)
            kept[key] = number
        else:
            found.discard(key)
            kept.pop(key, None)

    begins = str.endswith if backwards else str.startswith
    expected = sorted((key for key in kept if begins(text, key)), key=len, reverse=True)

    assert list(found.search(text)) == [kept[key] for key in expected]
    assert {key: found.get(key) for key in kept} == kept
    assert len(found) == len(kept)


def fulfils(event: Mapping[str, str], term: Term) -> bool:
    value = event.get(term.attribute)
    if value is None:
        return False
    match term.test:
        case "exact":
            return value == term.text
        case "prefix":
            return value.startswith(term.text)
        case "suffix":
            return value.endswith(term.text)


def said_otherwise(filter: Filter) -> Filter:
    """Return a filter of the same meaning that is another value, wherever that is possible."""
    match filter:
        case All(inner):
            return All((All(tuple(said_otherwise(each) for each in reversed(inner))),))
        case Any(inner):
            return Any((*(said_otherwise(each) for each in reversed(inner)), inner[0]))
        case Not(inner):
            return Not(Any((said_otherwise(inner),)))
        case Legacy(entries):
            return All(tuple(Legacy((entry,)) for entry in reversed(entries)))
        case _:
            return All((filter, filter))
