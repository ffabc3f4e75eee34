"""Filters and events to try them on: few names and short values, so that they meet."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from broker.cesql import parse
from broker.filters import All, Any, Cesql, Exact, Filter, Legacy, Not, Prefix, Suffix

NAMES: Final = ("type", "source", "count")
VALUES: Final = ("a", "ab", "b", "5", "true")

events = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, st.sampled_from(VALUES)))

_names = st.sampled_from(NAMES)
_values = st.sampled_from(VALUES)
_entries = st.lists(
    st.tuples(_names, _values), min_size=1, max_size=3, unique_by=lambda entry: entry[0]
).map(tuple)
_legacy_entries = st.lists(
    st.tuples(_names, st.sampled_from((*VALUES, ""))),
    min_size=1,
    max_size=3,
    unique_by=lambda entry: entry[0],
).map(tuple)

_literals = st.one_of(
    _values.map(lambda value: f"'{value}'"), st.sampled_from(("5", "7", "TRUE", "FALSE"))
)
_conditions = st.one_of(
    st.builds("{} {} {}".format, _names, st.sampled_from(("=", "!=", "<", ">=")), _literals),
    st.builds("{} = {}".format, _literals, _names),
    st.builds("{} = {}".format, _names, _names),
    st.builds("{} LIKE '{}'".format, _names, st.text("ab%_", max_size=3)),
    st.builds("{} NOT LIKE '{}'".format, _names, st.text("ab%_", max_size=3)),
    st.builds("{} IN ({}, {})".format, _names, _literals, st.one_of(_literals, _names)),
    st.builds("{} NOT IN ({})".format, _names, _literals),
    st.builds("EXISTS {}".format, _names),
    st.builds("LENGTH({}) = {}".format, _names, st.integers(0, 3)),
    st.builds("CONCAT({}, {}) = '{}'".format, _names, _names, _values),
    st.builds("{} + 1 > {}".format, _names, st.integers(0, 7)),
    st.builds("FOO({})".format, _names),
    st.sampled_from(("TRUE", "FALSE", *NAMES)),
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(("AND", "OR", "XOR"))
    return st.one_of(
        st.builds("{} {} {}".format, inner, operators, inner),
        st.builds("({}) {} ({})".format, inner, operators, inner),
        st.builds("NOT ({})".format, inner),
    )


expressions = st.recursive(_conditions, _combined, max_leaves=6)

_leaves: st.SearchStrategy[Filter] = st.one_of(
    *(_entries.map(dialect) for dialect in (Exact, Prefix, Suffix)),
    expressions.map(lambda text: Cesql(parse(text))),
)


def _nested(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(several.map(All), several.map(Any), inner.map(Not))


items = st.recursive(_leaves, _nested, max_leaves=8)
"""What stands among the ``filters`` of a trigger."""

filters: st.SearchStrategy[Filter] = st.one_of(
    st.lists(items, max_size=3).map(tuple).map(All), _legacy_entries.map(Legacy)
)
"""The filter of a trigger as a whole."""
