"""Finds the covers of a filter: what to look it up by."""

from __future__ import annotations

from typing import assert_never

from broker.filters.dialects import (
    All,
    Any,
    Cesql,
    Exact,
    Filter,
    Legacy,
    Not,
    Prefix,
    Suffix,
)
from broker.filters.expressions import covers_of_node
from broker.filters.terms import Cost, Cover, Term, of_all, of_any, of_terms, present


def covers(filter: Filter, cost: Cost) -> list[Cover]:
    """Return covers of the filter to choose from, none where nothing can be looked up.

    ``cost`` chooses where a cover has to be put together from those of several parts.
    """
    return _covers(filter, cost, wanted=True)


def demands(filter: Filter) -> list[Term]:
    """Return terms that every event which passes the filter fulfils, all of them."""
    return [each.terms[0] for each in covers(filter, _any_will_do) if len(each.terms) == 1]


def _any_will_do(_: Cover) -> int:
    return 0


def _covers(filter: Filter, cost: Cost, *, wanted: bool) -> list[Cover]:
    """Return covers of the events for which the filter is what is wanted."""
    match filter:
        case All(filters):
            parts = [_covers(each, cost, wanted=wanted) for each in filters]
            return of_all(parts) if wanted else of_any(parts, cost)
        case Any(filters):
            parts = [_covers(each, cost, wanted=wanted) for each in filters]
            return of_any(parts, cost) if wanted else of_all(parts)
        case Not(negated):
            return _covers(negated, cost, wanted=not wanted)
        case _:
            return _covers_of_leaf(filter, cost) if wanted else []


def _covers_of_leaf(filter: Exact | Prefix | Suffix | Legacy | Cesql, cost: Cost) -> list[Cover]:
    match filter:
        case Exact(entries):
            return of_terms(Term("exact", name, text) for name, text in entries)
        case Prefix(entries):
            return of_terms(Term("prefix", name, text) for name, text in entries)
        case Suffix(entries):
            return of_terms(Term("suffix", name, text) for name, text in entries)
        case Legacy(entries):
            return of_terms(
                Term("exact", name, text) if text else present(name) for name, text in entries
            )
        case Cesql(expression):
            return covers_of_node(expression.tree, cost)
        case _:
            assert_never(filter)
