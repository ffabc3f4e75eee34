"""The filter dialects of a Knative Trigger.

A filter is a frozen value: equal manifests give equal filters, and `repr` is the same in
every process, so that a channel can tell a changed filter from an unchanged one. A missing
attribute makes exact, prefix and suffix false, hence their negation true. Comparison is on
the canonical text, so that an event routes alike whichever mode or channel it came by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol


class Filter(Protocol):
    """Decides whether an event is for a trigger."""

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether an event with these canonical attributes passes."""
        ...

    def exact_terms(self) -> Mapping[str, str]:
        """Return name → value pairs that every matching event is sure to carry.

        An index may look a filter up by any one of them. Empty where there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Exact:
    """Every attribute has just this value."""

    entries: tuple[tuple[str, str], ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return all(attributes.get(name) == value for name, value in self.entries)

    def exact_terms(self) -> Mapping[str, str]:
        return dict(self.entries)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Every attribute is present and starts with this text."""

    entries: tuple[tuple[str, str], ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return all(
            name in attributes and attributes[name].startswith(start)
            for name, start in self.entries
        )

    def exact_terms(self) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class Suffix:
    """Every attribute is present and ends with this text."""

    entries: tuple[tuple[str, str], ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return all(
            name in attributes and attributes[name].endswith(end) for name, end in self.entries
        )

    def exact_terms(self) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class Legacy:
    """``filter.attributes``: exact, but ``""`` means that the attribute is present."""

    entries: tuple[tuple[str, str], ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return all(
            name in attributes and value in ("", attributes[name]) for name, value in self.entries
        )

    def exact_terms(self) -> Mapping[str, str]:
        return {name: value for name, value in self.entries if value}


@dataclass(frozen=True, slots=True)
class All:
    """Every one of the filters passes. With none at all, everything does."""

    filters: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return all(each.matches(attributes) for each in self.filters)

    def exact_terms(self) -> Mapping[str, str]:
        return {name: value for each in self.filters for name, value in each.exact_terms().items()}


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of the filters passes."""

    filters: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return any(each.matches(attributes) for each in self.filters)

    def exact_terms(self) -> Mapping[str, str]:
        return self.filters[0].exact_terms() if len(self.filters) == 1 else {}


@dataclass(frozen=True, slots=True)
class Not:
    """The filter does not pass."""

    filter: Filter

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return not self.filter.matches(attributes)

    def exact_terms(self) -> Mapping[str, str]:
        return {}


EVERYTHING: Final[Filter] = All(())
"""The filter of a trigger that declares none."""
