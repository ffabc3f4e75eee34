"""Turns the filters of a Trigger into values that match events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.filters import EVERYTHING, All, Any, Exact, Filter, Legacy, Not, Prefix, Suffix
from broker.manifest.shapes import FilterItem, LegacyFilter


def of_items(items: Sequence[FilterItem]) -> Filter:
    """Return the filter that passes what every item passes."""
    filters = tuple(map(_of_item, items))
    return filters[0] if len(filters) == 1 else All(filters)


def of_legacy(filter: LegacyFilter | None) -> Filter:
    """Return the filter of ``filter.attributes``, which passes everything when it is empty."""
    if filter is None or not filter.attributes:
        return EVERYTHING
    return Legacy(_entries(filter.attributes))


def _of_item(item: FilterItem) -> Filter:
    match item:
        case FilterItem(exact=Mapping() as entries):
            return Exact(_entries(entries))
        case FilterItem(prefix=Mapping() as entries):
            return Prefix(_entries(entries))
        case FilterItem(suffix=Mapping() as entries):
            return Suffix(_entries(entries))
        case FilterItem(all=list() as items):
            return All(tuple(map(_of_item, items)))
        case FilterItem(any=list() as items):
            return Any(tuple(map(_of_item, items)))
        case FilterItem(not_=FilterItem() as negated):
            return Not(_of_item(negated))
        case _:  # the shape lets no such item through; a filter fails closed, whatever happens
            raise AssertionError("a filter item without a dialect")


def _entries(entries: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    # In a fixed order: turning two lines round in the manifest does not change the filter.
    return tuple(sorted(entries.items()))
