"""Finds the triggers that an event is for without asking each of them.

Promise 7 of the design: cost follows matches, not triggers.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker.filters.dialects import Filter


class FilterIndex:
    """A set of named filters, searched by event.

    A filter that demands an exact value is looked up by one such pair; what is found that
    way, and every filter that demands none, is then evaluated.
    """

    def __init__(self) -> None:
        self._filters: dict[str, Filter] = {}
        self._by_pair: dict[str, dict[str, dict[str, Filter]]] = {}
        self._unindexed: dict[str, Filter] = {}

    def put(self, name: str, filter: Filter) -> None:
        """Add the filter, in place of an earlier one of that name."""
        self.discard(name)
        self._filters[name] = filter
        self._bucket(filter)[name] = filter

    def discard(self, name: str) -> None:
        """Forget the filter of that name, if there is one."""
        known = self._filters.pop(name, None)
        if known is None:
            return
        del self._bucket(known)[name]
        pair = _pair(known)
        if pair and not self._by_pair[pair[0]][pair[1]]:
            del self._by_pair[pair[0]][pair[1]]
            if not self._by_pair[pair[0]]:
                del self._by_pair[pair[0]]

    def matching(self, attributes: Mapping[str, str]) -> list[str]:
        """Return the names of all filters that match, in no particular order."""
        found = [name for name, each in self._unindexed.items() if each.matches(attributes)]
        for attribute, by_value in self._by_pair.items():
            value = attributes.get(attribute)
            candidates = None if value is None else by_value.get(value)
            if candidates:
                found += [name for name, each in candidates.items() if each.matches(attributes)]
        return found

    def _bucket(self, filter: Filter) -> dict[str, Filter]:
        pair = _pair(filter)
        if pair is None:
            return self._unindexed
        return self._by_pair.setdefault(pair[0], {}).setdefault(pair[1], {})


def _pair(filter: Filter) -> tuple[str, str] | None:
    """Return the pair that ``filter`` is looked up by: its type first, as that tells most."""
    terms = filter.exact_terms()
    for name in ("type", "source", "subject"):
        if name in terms:
            return name, terms[name]
    return min(terms.items(), default=None)
