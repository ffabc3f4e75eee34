"""What is sought in the values of one attribute, and how it is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from broker.filters.prefixes import PrefixMap
from broker.filters.terms import Term

Check = Callable[[Mapping[str, str]], bool]

Bucket = dict[str, Check | None]
"""The filters that are looked up by one term: name → what is left to ask, None for nothing."""
Lookup = Callable[[str], tuple[Bucket, ...] | None]
"""Returns the buckets that are found by a value."""

_MAX_VALUES: Final = 1_000
_MAX_LENGTH: Final = 256


class Attribute:
    """What is sought in the values of one attribute.

    What was found for a value is remembered, as most attributes have a few values again and
    again; those that prove to have many are searched each time.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._exact: dict[str, tuple[Bucket, ...]] = {}
        self._prefixes = PrefixMap[Bucket]()
        self._suffixes = PrefixMap[Bucket](backwards=True)
        self._known: _Known | None = _Known(self._search, self._give_up)
        self._changed = changed

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes or self._suffixes)

    def lookup(self) -> Lookup:
        """Return what finds the buckets of a value. ``changed`` is called when it is another."""
        if not (self._prefixes or self._suffixes):
            return self._exact.get
        if self._known is not None:
            return self._known.__getitem__
        if not (self._exact or self._suffixes):
            return self._prefixes.search
        if not (self._exact or self._prefixes):
            return self._suffixes.search
        return self._search

    def _search(self, value: str) -> tuple[Bucket, ...]:
        found = self._exact.get(value, ())
        return found + self._prefixes.search(value) + self._suffixes.search(value)

    def _give_up(self) -> None:
        """Remember no values any more, as there are too many."""
        self._known = None
        self._changed()

    def _forget(self) -> None:
        self._known = _Known(self._search, self._give_up)

    def bucket(self, term: Term) -> Bucket:
        """Return the bucket of the term, made if it is new."""
        found = self._bucket(term)
        if found is not None:
            return found
        self._forget()
        made: Bucket = {}
        if term.test == "exact":
            self._exact[term.text] = (made,)
        else:
            self._ordered(term).put(term.text, made)
        return made

    def take_out(self, term: Term, name: str) -> None:
        """Take ``name`` out of the bucket of the term, and the bucket away if it is empty.

        What was found before stays true: a bucket in it is empty then.
        """
        bucket = self.bucket(term)
        del bucket[name]
        if bucket:
            return
        if term.test == "exact":
            del self._exact[term.text]
        else:
            self._ordered(term).discard(term.text)

    def held_by(self, term: Term) -> int:
        """Return how many filters are in the bucket of the term."""
        return len(self._bucket(term) or ())

    def _bucket(self, term: Term) -> Bucket | None:
        if term.test == "exact":
            found = self._exact.get(term.text)
            return found[0] if found else None
        return self._ordered(term).get(term.text)

    def _ordered(self, term: Term) -> PrefixMap[Bucket]:
        return self._prefixes if term.test == "prefix" else self._suffixes


class _Known(dict[str, tuple[Bucket, ...]]):
    """What was found before, and how to find what was not. A hit takes no step in Python."""

    def __init__(
        self, search: Callable[[str], tuple[Bucket, ...]], give_up: Callable[[], None]
    ) -> None:
        self._search = search
        self._give_up = give_up

    def __missing__(self, value: str) -> tuple[Bucket, ...]:
        found = self._search(value)
        if len(value) <= _MAX_LENGTH:
            self[value] = found
            if len(self) > _MAX_VALUES:
                self._give_up()
        return found
