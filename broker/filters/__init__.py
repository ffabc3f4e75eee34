"""Trigger filters: Knative's dialects as values that match events."""

from broker.filters.dialects import (
    EVERYTHING,
    All,
    Any,
    Exact,
    Filter,
    Legacy,
    Not,
    Prefix,
    Suffix,
)
from broker.filters.index import FilterIndex

__all__ = [
    "EVERYTHING",
    "All",
    "Any",
    "Exact",
    "Filter",
    "FilterIndex",
    "Legacy",
    "Not",
    "Prefix",
    "Suffix",
]
