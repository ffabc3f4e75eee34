"""Finds the triggers that an event is for without asking each of them.

Promise 7 of the design: cost follows matches, not triggers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.event import REQUIRED
from broker.filters.attribute import Attribute, Bucket, Lookup
from broker.filters.covers import covers
from broker.filters.dialects import EVERYTHING, All, Any, Filter
from broker.filters.terms import Cover, Term

# How poorly a term narrows; a bucket that is one fuller costs 1. Nearly every event has the
# same few values in these attributes.
_COMMON: Final = {"specversion": 100_000, "datacontenttype": 1_000}
_NO_HELP: Final = 1_000_000
_PRESENCE: Final = 50
_PART: Final = 2
_SHORT_PART: Final = 20
_SHORT: Final = 3
# Where it makes no difference, all take the same attribute: each one costs a look.
_PREFERRED: Final = ("type", "source", "subject")


class FilterIndex:
    """A set of named filters, searched by event.

    Each filter is filed under terms of which a matching event fulfils at least one: exact
    values in a dictionary, prefixes and suffixes in order. Only what is found that way, and
    what could not be filed, is asked.
    """

    def __init__(self) -> None:
        self._covers: dict[str, Cover] = {}
        self._unfiled: Bucket = {}
        self._attributes: dict[str, Attribute] = {}
        self._lookups: list[tuple[str, Lookup]] = []
        self._filed_often = 0

    def put(self, name: str, filter: Filter) -> None:
        """Add the filter, in place of an earlier one of that name."""
        self.discard(name)
        check = None if filter == EVERYTHING else _unwrapped(filter).matches
        cover = min(covers(filter, self._cost), key=self._cost, default=None)
        if cover is None:
            self._unfiled[name] = check
            return
        self._covers[name] = cover
        self._filed_often += len(cover.terms) > 1
        for term in cover.terms:
            attribute = self._attributes.setdefault(term.attribute, Attribute(self._changed))
            attribute.bucket(term)[name] = None if cover.decisive else check
        self._changed()

    def discard(self, name: str) -> None:
        """Forget the filter of that name, if there is one."""
        self._unfiled.pop(name, None)
        cover = self._covers.pop(name, None)
        if cover is None:
            return
        self._filed_often -= len(cover.terms) > 1
        for term in cover.terms:
            attribute = self._attributes[term.attribute]
            attribute.take_out(term, name)
            if not attribute:
                del self._attributes[term.attribute]
        self._changed()

    def matching(self, attributes: Mapping[str, str]) -> list[str]:
        """Return the names of all filters that match, each once, in no particular order."""
        found: list[str] = []
        if self._unfiled:
            _ask(self._unfiled, attributes, found)
        for attribute, lookup in self._lookups:
            value = attributes.get(attribute)
            if value is None:
                continue
            buckets = lookup(value)
            if buckets:
                for bucket in buckets:
                    for name, check in bucket.items():
                        if check is None or check(attributes):
                            found.append(name)
        if self._filed_often and len(found) > 1:
            return list(dict.fromkeys(found))
        return found

    def _changed(self) -> None:
        self._lookups = [(name, each.lookup()) for name, each in self._attributes.items()]

    def _cost(self, cover: Cover) -> int:
        return sum(map(self._cost_of_term, cover.terms))

    def _cost_of_term(self, term: Term) -> int:
        sought = self._attributes.get(term.attribute)
        held = 0 if sought is None else sought.held_by(term)
        return 8 * (held + _weight(term)) + _rank(term.attribute)


def _ask(bucket: Bucket, attributes: Mapping[str, str], found: list[str]) -> None:
    for name, check in bucket.items():
        if check is None or check(attributes):
            found.append(name)


def _weight(term: Term) -> int:
    common = _COMMON.get(term.attribute, 0)
    if term.test == "exact":
        return common
    if not term.text:
        return common + (_NO_HELP if term.attribute in REQUIRED else _PRESENCE)
    return common + (_SHORT_PART if len(term.text) < _SHORT else _PART)


def _rank(attribute: str) -> int:
    return _PREFERRED.index(attribute) if attribute in _PREFERRED else len(_PREFERRED)


def _unwrapped(filter: Filter) -> Filter:
    """Return the filter without the lists of one that stand around it."""
    if isinstance(filter, All | Any) and len(filter.filters) == 1:
        return _unwrapped(filter.filters[0])
    return filter
