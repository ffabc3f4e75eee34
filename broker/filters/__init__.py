"""Trigger filters: Knative's dialects as values that match events.

Reading order: ``dialects`` → ``explaining``; ``terms`` → ``covers`` → ``index``; ``doubts``.
"""

from broker.filters.covers import demands
from broker.filters.dialects import (
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
)
from broker.filters.doubts import meaning, never_matches
from broker.filters.explaining import Clause, explain
from broker.filters.index import FilterIndex

__all__ = [
    "EVERYTHING",
    "All",
    "Any",
    "Cesql",
    "Clause",
    "Exact",
    "Filter",
    "FilterIndex",
    "Legacy",
    "Not",
    "Prefix",
    "Suffix",
    "demands",
    "explain",
    "meaning",
    "never_matches",
]
