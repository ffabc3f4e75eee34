"""The filter dialects of a Knative Trigger.

A filter is a frozen value: equal manifests give equal filters, and `repr` is the same in
every process, so that a channel can tell a changed filter from an unchanged one. A missing
attribute makes exact, prefix and suffix false, hence their negation true. Comparison is on
the canonical text, so that an event routes alike whichever mode or channel it came by.

The methods are plain loops: ``all(…)`` over a generator takes three times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.cesql import Expression

Entries = tuple[tuple[str, str], ...]
"""Pairs of an attribute's name and what its value is compared with."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Every attribute has just this value."""

    entries: Entries

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether an event with these canonical attributes passes. So for all dialects."""
        for name, value in self.entries:  # noqa: SIM110
            if attributes.get(name) != value:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Prefix:
    """Every attribute is present and starts with this text."""

    entries: Entries

    def matches(self, attributes: Mapping[str, str]) -> bool:
        for name, start in self.entries:
            value = attributes.get(name)
            if value is None or not value.startswith(start):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Suffix:
    """Every attribute is present and ends with this text."""

    entries: Entries

    def matches(self, attributes: Mapping[str, str]) -> bool:
        for name, end in self.entries:
            value = attributes.get(name)
            if value is None or not value.endswith(end):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Legacy:
    """``filter.attributes``: exact, but ``""`` means that the attribute is present."""

    entries: Entries

    def matches(self, attributes: Mapping[str, str]) -> bool:
        for name, wanted in self.entries:
            value = attributes.get(name)
            if value is None or (wanted and value != wanted):
                return False
        return True


@dataclass(frozen=True, slots=True)
class All:
    """Every one of the filters passes. With none at all, everything does."""

    filters: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        for each in self.filters:  # noqa: SIM110
            if not each.matches(attributes):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of the filters passes."""

    filters: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        for each in self.filters:  # noqa: SIM110
            if each.matches(attributes):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Not:
    """The filter does not pass."""

    filter: Filter

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return not self.filter.matches(attributes)


@dataclass(frozen=True, slots=True)
class Cesql:
    """The CESQL expression is true, and nothing in its evaluation erred."""

    expression: Expression

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return self.expression.passes(attributes)


Filter = Exact | Prefix | Suffix | Legacy | All | Any | Not | Cesql
"""Decides whether an event is for a trigger.

The `All` at the top of a trigger's filter is its list of ``filters``: their indexes are what
an explanation names.
"""

EVERYTHING: Final = All(())
"""The filter of a trigger that declares none."""
