"""Turns the filters of a Trigger into values that match events, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from broker.cesql import Expression
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
    never_matches,
)
from broker.manifest.objects import Place
from broker.manifest.shapes import FilterItem, LegacyFilter, TriggerSpec
from broker.manifest.yamltree import Json


def of_items(items: Sequence[FilterItem], place: Place) -> Filter:
    """Return the filter that passes what every item passes; warn of what is doubtful in them."""
    found = all_of(items)
    for index, each in enumerate(found.filters):
        _warn_of_doubts(each, place.at(index))
    _warn_if_it_never_matches(found, place)
    return found


def of_legacy(filter: LegacyFilter | None) -> Filter:
    """Return the filter of ``filter.attributes``, which passes everything when it is empty."""
    if filter is None or not filter.attributes:
        return EVERYTHING
    return Legacy(_entries(filter.attributes))


def of_spec(spec: Mapping[str, object]) -> Filter:
    """Return the filter that `spec_of` made this of; raises `ValueError` where it is none."""
    read = TriggerSpec.model_validate(spec)
    return all_of(read.filters) if read.filters else of_legacy(read.filter)


def spec_of(filter: Filter) -> dict[str, Json]:
    """Return the part of a Trigger's ``spec`` that says the same as the filter."""
    match filter:
        case Legacy(entries):
            return {"filter": {"attributes": dict(entries)}}
        case All(filters):
            return {"filters": [_item_of(each) for each in filters]}
        case _:
            return {"filters": [_item_of(filter)]}


def all_of(items: Sequence[FilterItem]) -> All:
    """Return the filter that passes what every item passes."""
    return All(tuple(map(_of_item, items)))


def _of_item(item: FilterItem) -> Filter:
    match item:
        case FilterItem(exact=Mapping() as entries):
            return Exact(_entries(entries))
        case FilterItem(prefix=Mapping() as entries):
            return Prefix(_entries(entries))
        case FilterItem(suffix=Mapping() as entries):
            return Suffix(_entries(entries))
        case FilterItem(all=list() as items):
            return all_of(items)
        case FilterItem(any=list() as items):
            return Any(tuple(map(_of_item, items)))
        case FilterItem(not_=FilterItem() as negated):
            return Not(_of_item(negated))
        case FilterItem(cesql=Expression() as expression):
            return Cesql(expression)
        case _:  # the shape lets no such item through; a filter fails closed, whatever happens
            raise AssertionError("a filter item without a dialect")


def _warn_of_doubts(filter: Filter, place: Place) -> None:
    match filter:
        case All(filters):
            for index, each in enumerate(filters):
                _warn_of_doubts(each, place.at("all", index))
        case Any(filters):
            for index, each in enumerate(filters):
                _warn_of_doubts(each, place.at("any", index))
        case Not(negated):
            _warn_of_doubts(negated, place.at("not"))
        case Cesql(expression):
            for doubt in expression.doubts():
                place.at("cesql").warn(f"column {doubt.column}: {doubt.message}")
        case _:
            pass


def _warn_if_it_never_matches(filter: Filter, place: Place) -> None:
    why = never_matches(filter)
    if why is not None:
        place.warn(f"no event can ever pass: {why}")


def _item_of(filter: Filter) -> Json:
    match filter:
        case Exact(entries):
            return {"exact": dict(entries)}
        case Prefix(entries):
            return {"prefix": dict(entries)}
        case Suffix(entries):
            return {"suffix": dict(entries)}
        case All(filters):
            return {"all": [_item_of(each) for each in filters]}
        case Any(filters):
            return {"any": [_item_of(each) for each in filters]}
        case Not(negated):
            return {"not": _item_of(negated)}
        case Cesql(expression):
            return {"cesql": expression.text}
        case Legacy():
            raise AssertionError("the older form does not stand among the items of 'filters'")
        case _:
            assert_never(filter)


def _entries(entries: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    # In a fixed order: turning two lines round in the manifest does not change the filter.
    return tuple(sorted(entries.items()))
