"""What an event must carry to pass a filter, in terms that can be looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

Test = Literal["exact", "prefix", "suffix"]


@dataclass(frozen=True, slots=True)
class Term:
    """One attribute is there, and equals, begins with or ends with a text.

    That it is there at all, with any value, is the prefix ``""``.
    """

    test: Test
    attribute: str
    text: str


@dataclass(frozen=True, slots=True)
class Cover:
    """Terms of which every event that passes a filter fulfils at least one.

    ``decisive`` says that an event which fulfils one passes, without asking the filter.
    """

    terms: tuple[Term, ...]
    decisive: bool = False


Cost = Callable[[Cover], int]
"""How little a cover narrows: the smallest is taken."""


def present(attribute: str) -> Term:
    """Return the term that any value of the attribute fulfils."""
    return Term("prefix", attribute, "")


def of_terms(terms: Iterable[Term]) -> list[Cover]:
    """Return the covers of what demands all the terms, and nothing else."""
    each = tuple(terms)
    return [Cover((term,), decisive=len(each) == 1) for term in each]


def of_all(parts: Sequence[list[Cover]]) -> list[Cover]:
    """Return the covers of what has all these parts, from the covers of each."""
    if len(parts) == 1:
        return parts[0]
    return [Cover(each.terms) for each in chain.from_iterable(parts)]


def of_any(parts: Sequence[list[Cover]], cost: Cost) -> list[Cover]:
    """Return the cover of what has one of these parts, if all of them have any."""
    if not parts or not all(parts):
        return []
    if len(parts) == 1:
        return parts[0]
    best = [min(part, key=cost) for part in parts]
    terms = dict.fromkeys(chain.from_iterable(each.terms for each in best))
    return [Cover(tuple(terms), decisive=all(each.decisive for each in best))]
