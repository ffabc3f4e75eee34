"""Finds all the texts of a set that another text begins, or ends, with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

Search = Callable[[str], tuple[T, ...]]
Links = dict[str, str | None]
Heads = Mapping[str, int]


class PrefixMap(Generic[T]):
    """A mapping that is searched by texts that its keys are prefixes of.

    The keys are kept in order, and each knows the longest other key that it begins with. So
    what a text begins with is found by one bisection and by following these links: a text is
    sorted right behind the longest of its prefixes, or behind a key that begins with it.

    Most texts begin with none. Those are told by their first characters, as many as the shortest
    key has.

    ``backwards`` makes it a mapping by suffixes. ``search`` returns what is kept under every
    key that a text begins (or ends) with, the longest first.
    """

    __slots__ = ("_backwards", "_heads", "_keys", "_links", "_shortest", "_values", "search")

    def __init__(self, *, backwards: bool = False) -> None:
        self._backwards = backwards
        self._keys: list[str] = []
        self._links: Links = {}
        self._values: dict[str, T] = {}
        self._shortest = 0
        self._heads: dict[str, int] = {}  # how many keys have them
        self.search: Search[T] = _nothing

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> T | None:
        """Return what is kept under just this key."""
        return self._values.get(self._turned(key))

    def put(self, key: str, value: T) -> None:
        """Keep the value under the key, in place of an earlier one."""
        key = self._turned(key)
        if key not in self._values:
            self._links[key] = link = _longest(key, self._keys, self._links)
            insort(self._keys, key)
            for each in self._beginning_with(key):
                if self._links[each] == link:
                    self._links[each] = key
            self._note_head(key)
        self._values[key] = value

    def discard(self, key: str) -> None:
        """Forget the key, if it is there."""
        key = self._turned(key)
        if key not in self._values:
            return
        for each in self._beginning_with(key):
            if self._links[each] == key:
                self._links[each] = self._links[key]
        del self._keys[bisect_left(self._keys, key)], self._links[key], self._values[key]
        head = key[: self._shortest]
        self._heads[head] -= 1
        if not self._heads[head]:
            del self._heads[head]

    def _note_head(self, key: str) -> None:
        if self._heads and len(key) >= self._shortest:
            head = key[: self._shortest]
            self._heads[head] = self._heads.get(head, 0) + 1
            return
        self._shortest = len(key)
        self._heads = Counter(each[: len(key)] for each in self._keys)
        make = _backward_search if self._backwards else _search
        self.search = make(self._shortest, self._heads, self._keys, self._links, self._values)

    def _turned(self, key: str) -> str:
        return key[::-1] if self._backwards else key

    def _beginning_with(self, key: str) -> Iterator[str]:
        """Yield the other keys that begin with ``key``: they follow it in the order."""
        for at in range(bisect_right(self._keys, key), len(self._keys)):
            each = self._keys[at]
            if not each.startswith(key):
                return
            yield each


def _longest(text: str, keys: Sequence[str], links: Links) -> str | None:
    """Return the longest key that the text begins with."""
    at = bisect_right(keys, text)
    key = keys[at - 1] if at else None
    while key is not None and not text.startswith(key):
        key = links[key]
    return key


# Searching is on the path of every event, and its bisection takes 150 ns of some 300. Methods
# in its place took 560 and more: hence closures, and `_longest` written out in both.


def _search(
    length: int, heads: Heads, keys: Sequence[str], links: Links, values: Mapping[str, T]
) -> Search[T]:
    def search(text: str) -> tuple[T, ...]:
        if text[:length] not in heads:
            return ()
        at = bisect_right(keys, text)
        key = keys[at - 1] if at else None
        while key is not None and not text.startswith(key):
            key = links[key]
        return () if key is None else _from(key, links, values)

    return search


def _backward_search(
    length: int, heads: Heads, keys: Sequence[str], links: Links, values: Mapping[str, T]
) -> Search[T]:
    before = -length - 1

    def search(text: str) -> tuple[T, ...]:
        if text[:before:-1] not in heads:
            return ()
        text = text[::-1]
        at = bisect_right(keys, text)
        key = keys[at - 1] if at else None
        while key is not None and not text.startswith(key):
            key = links[key]
        return () if key is None else _from(key, links, values)

    return search


def _nothing(_: str) -> tuple[T, ...]:
    return ()


def _from(key: str | None, links: Links, values: Mapping[str, T]) -> tuple[T, ...]:
    """Return what is kept under the key and under all others that it begins with."""
    found: list[T] = []
    while key is not None:
        found.append(values[key])
        key = links[key]
    return tuple(found)
