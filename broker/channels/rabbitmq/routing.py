"""How events get from a broker's exchange to the queues of its triggers: looked up where they can.

The mesh publishes every event with a routing key of its type, source and subject, such as
``ce.com%2Eexample%2Eorder.%2Fshop.1042``. A trigger that demands exact values of these has its
queue bound by keys with ``*`` for what it does not demand, which a topic exchange looks up. All
else, and what others publish without such a key, is compared with the headers of each binding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from broker.codecs.amqp import STRUCTURED, matching
from broker.filters import Filter
from broker.filters.covers import covers, demands
from broker.filters.terms import Cover, Term

Binding = Mapping[str, str | None]
"""Headers that a message has to have; None stands for any value."""

EVERY_KEY: Final = "ce.#"
"""Fits what has a key, and nothing else."""

_KEYED: Final = ("type", "source", "subject")
_ANY: Final = "*"
_MOST_KEYS: Final = 100

# A key has at most 255 bytes (AMQP 0-9-1, section 4.2.5.3). A word that would be longer is a
# digest; `%` and a lower-case letter come from nothing else.
_LONGEST_WORD: Final = 80
_DIGITS: Final = 32
_SPECIAL: Final = str.maketrans({".": "%2E", "*": "%2A", "#": "%23", "%": "%25"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What has to hold of a message, one of these, to come into a queue.

    ``headers`` hold of every message, whoever published it; of those that the mesh publishes now,
    one of ``keys`` fits, too. Where there are no keys, only the headers tell.
    """

    headers: Sequence[Binding]
    keys: Sequence[str] = ()


def key(attributes: Mapping[str, str]) -> str:
    """Return the routing key of an event with these attributes."""
    subject = attributes.get("subject", "")
    return f"ce.{_word(attributes['type'])}.{_word(attributes['source'])}.{_word(subject)}"


def routes(filter: Filter) -> Routes:
    """Return what a message has to have to be for a trigger with that filter.

    Messages may have it that are for other triggers only.
    """
    terms = demands(filter)
    found = matching(terms)
    headers: Sequence[Binding] = [found, STRUCTURED] if found else [{}]
    return Routes(headers=headers, keys=_keys(filter, terms))


def _keys(filter: Filter, demanded: Sequence[Term]) -> Sequence[str]:
    """Return the keys to look the filter up by, none where headers tell more."""
    exact = [term for term in demanded if term.test == "exact"]
    if exact:
        return [_pattern(exact)] if all(map(_is_keyed, exact)) else []
    for cover in covers(filter, _unkeyed):
        if not _unkeyed(cover) and len(cover.terms) <= _MOST_KEYS:
            return [_pattern([term]) for term in cover.terms]
    return []


def _unkeyed(cover: Cover) -> int:
    return sum(not _is_keyed(term) for term in cover.terms)


def _is_keyed(term: Term) -> bool:
    return term.test == "exact" and term.attribute in _KEYED


def _pattern(terms: Sequence[Term]) -> str:
    words = {term.attribute: _word(term.text) for term in terms}
    return ".".join(["ce", *(words.get(attribute, _ANY) for attribute in _KEYED)])


def _word(text: str) -> str:
    return _short_word(text) if len(text) <= _LONGEST_WORD else _digest(text)


@lru_cache(maxsize=4096)
def _short_word(text: str) -> str:
    word = text.translate(_SPECIAL)
    return word if len(word.encode()) <= _LONGEST_WORD else _digest(text)


def _digest(text: str) -> str:
    return f"%x{sha256(text.encode()).hexdigest()[:_DIGITS]}"
