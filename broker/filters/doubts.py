"""Finds filters that say something that nobody can have meant."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import combinations
from typing import assert_never

from broker.filters.covers import demands
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
from broker.filters.explaining import quoted
from broker.filters.terms import Term


def never_matches(filter: Filter) -> str | None:
    """Return why no event at all can pass the filter; None where some event may.

    Finds what contradicts itself in plain sight, such as ``exact`` on two values of one
    attribute; there are filters that never match and are not found.
    """
    match filter:
        case Exact() | Prefix() | Suffix():  # each entry of which is about another attribute
            return None
        case All((alone,)):
            return never_matches(alone)
        case Any(filters):
            whys = [never_matches(each) for each in filters]
            return whys[0] if whys and all(whys) else None
        case All(filters):
            why = next((why for each in filters if (why := never_matches(each))), None)
            return why or _contradiction(demands(filter)) or _excluded(filter)
        case _:
            return _contradiction(demands(filter))


def meaning(filter: Filter) -> Hashable:
    """Return a value that is the same for filters which differ in nothing but the way of saying.

    The order of entries and lists, lists of one, lists in lists, and the older form are such.
    """
    match filter:
        case Exact(entries) | Prefix(entries) | Suffix(entries):
            return _joined("all", [(type(filter), entry) for entry in entries])
        case Legacy(entries):
            return _joined("all", [(Exact if entry[1] else Legacy, entry) for entry in entries])
        case All(filters):
            return _joined("all", map(meaning, filters))
        case Any(filters):
            return _joined("any", map(meaning, filters))
        case Not(negated):
            return ("not", meaning(negated))
        case Cesql(expression):
            return ("cesql", str(expression))
        case _:
            assert_never(filter)


def _joined(how: str, parts: Iterable[Hashable]) -> Hashable:
    flat: set[Hashable] = set()
    for part in parts:
        match part:
            case (str() as word, frozenset() as inner) if word == how:
                flat |= inner
            case _:
                flat.add(part)
    return next(iter(flat)) if len(flat) == 1 else (how, frozenset(flat))


def _contradiction(terms: Iterable[Term]) -> str | None:
    """Return which two of the terms no value can fulfil."""
    by_attribute: dict[str, dict[Term, None]] = {}
    for term in terms:
        by_attribute.setdefault(term.attribute, {})[term] = None
    for name, each in by_attribute.items():
        for one, other in combinations(each, 2):
            if not _agree(one, other):
                return f"'{name}' cannot {_words(one)} and {_words(other)} at once"
    return None


def _agree(one: Term, other: Term) -> bool:
    """Return whether some value fulfils both terms, which are of one attribute."""
    match one.test, other.test:
        case "exact", _:
            return _fulfils(one.text, other)
        case _, "exact":
            return _fulfils(other.text, one)
        case "prefix", "prefix":
            return one.text.startswith(other.text) or other.text.startswith(one.text)
        case "suffix", "suffix":
            return one.text.endswith(other.text) or other.text.endswith(one.text)
        case _:
            return True


def _fulfils(value: str, term: Term) -> bool:
    match term.test:
        case "exact":
            return value == term.text
        case "prefix":
            return value.startswith(term.text)
        case "suffix":
            return value.endswith(term.text)
        case _:
            assert_never(term.test)


def _words(term: Term) -> str:
    match term.test:
        case "exact":
            return f"be {quoted(term.text)}"
        case "prefix":
            return f"begin with {quoted(term.text)}"
        case "suffix":
            return f"end with {quoted(term.text)}"
        case _:
            assert_never(term.test)


def _excluded(filter: All) -> str | None:
    """Return which value is demanded by one part of the filter and excluded by another."""
    fixed = {term.attribute: term.text for term in demands(filter) if term.test == "exact"}
    for each in filter.filters:
        names = set(_attributes(each))
        if names and names <= fixed.keys() and not each.matches(fixed):
            values = " and ".join(f"'{name}' to be {quoted(fixed[name])}" for name in sorted(names))
            return f"one part demands {values}, another excludes it"
    return None


def _attributes(filter: Filter) -> Iterator[str]:
    """Yield the names of all attributes that the filter looks at."""
    match filter:
        case Exact(entries) | Prefix(entries) | Suffix(entries) | Legacy(entries):
            for name, _ in entries:
                yield name
        case All(filters) | Any(filters):
            for each in filters:
                yield from _attributes(each)
        case Not(negated):
            yield from _attributes(negated)
        case Cesql(expression):
            yield from expression.attributes
        case _:
            assert_never(filter)
