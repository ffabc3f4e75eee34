"""Says why an event does not pass a filter: the exact clauses, with the actual values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from broker.filters.dialects import (
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

_FIELDS: Final = {Exact: "exact", Prefix: "prefix", Suffix: "suffix", Legacy: "attributes"}
_MAX_VALUE: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One condition that kept an event out.

    ``path``       its place in the trigger, such as ``filters[1].any[0].prefix``.
    ``attribute``  the attribute that it looks at; None for a part of a CESQL expression.
    ``expected``   what the filter compares with, ``""`` where presence is enough; for CESQL the
                   text of the part.
    ``actual``     the event's value, None where it has no such attribute, and for CESQL.
    ``reason``     the rest of the sentence, for people: ``"x" ≠ "y"``.
    """

    path: str
    attribute: str | None
    expected: str
    actual: str | None
    reason: str

    def __str__(self) -> str:
        subject = _on_one_line(self.expected) if self.attribute is None else self.attribute
        return f"{self.path} {subject}: {self.reason}"


def explain(filter: Filter, attributes: Mapping[str, str]) -> tuple[Clause, ...]:
    """Return every clause that keeps an event with these attributes out; none if it passes.

    ``filter`` is that of a trigger as a whole, so paths start at ``filters[…]`` or, for the
    older form, at ``filter.attributes``.
    """
    return tuple(_top(filter, attributes))


def _top(filter: Filter, attributes: Mapping[str, str]) -> Iterator[Clause]:
    match filter:
        case All(filters):
            for index, each in enumerate(filters):
                yield from _against(each, attributes, f"filters[{index}]", wanted=True)
        case Legacy():
            yield from _against(filter, attributes, "filter", wanted=True)
        case _:
            yield from _against(filter, attributes, "filters[0]", wanted=True)


def _against(
    filter: Filter, attributes: Mapping[str, str], path: str, *, wanted: bool
) -> Iterator[Clause]:
    """Yield what keeps ``filter`` from being what is wanted: true, or within a ``not`` false."""
    if filter.matches(attributes) is wanted:
        return
    match filter:
        case Exact() | Prefix() | Suffix() | Legacy():
            yield from _compared(filter, attributes, path, wanted=wanted)
        case All(filters):
            for index, each in enumerate(filters):
                yield from _against(each, attributes, f"{path}.all[{index}]", wanted=wanted)
        case Any(filters):
            for index, each in enumerate(filters):
                yield from _against(each, attributes, f"{path}.any[{index}]", wanted=wanted)
        case Not(inner):
            yield from _against(inner, attributes, f"{path}.not", wanted=not wanted)
        case Cesql():
            yield from _expression(filter, attributes, f"{path}.cesql", wanted=wanted)
        case _:
            assert_never(filter)


def _compared(
    filter: Exact | Prefix | Suffix | Legacy,
    attributes: Mapping[str, str],
    path: str,
    *,
    wanted: bool,
) -> Iterator[Clause]:
    for entry in filter.entries:
        if type(filter)((entry,)).matches(attributes) is wanted:
            continue
        name, expected = entry
        actual = attributes.get(name)
        yield Clause(
            path=f"{path}.{_FIELDS[type(filter)]}",
            attribute=name,
            expected=expected,
            actual=actual,
            reason=_comparison(filter, expected, actual, wanted=wanted),
        )


def _comparison(
    filter: Exact | Prefix | Suffix | Legacy, expected: str, actual: str | None, *, wanted: bool
) -> str:
    if actual is None:
        shown = "(absent)"
    else:
        shown = _quoted_end(actual) if isinstance(filter, Suffix) else quoted(actual)
    demanded = "any value" if isinstance(filter, Legacy) and not expected else quoted(expected)
    return f"{demanded} {'≠' if wanted else 'matches'} {shown}"


def _expression(
    filter: Cesql, attributes: Mapping[str, str], path: str, *, wanted: bool
) -> Iterator[Clause]:
    expression = filter.expression
    if not wanted:
        yield Clause(
            path=path, attribute=None, expected=expression.text, actual=None, reason="is true"
        )
    for each in expression.shortfalls(attributes) if wanted else ():
        yield Clause(path=path, attribute=None, expected=each.text, actual=None, reason=each.reason)


def quoted(text: str) -> str:
    """Return the text in quotes, cut where it is too long to be read, on one line."""
    return json.dumps(_cut(text), ensure_ascii=False)


def _quoted_end(text: str) -> str:
    """Return the text in quotes like `quoted`, but cut at its start."""
    cut = text if len(text) <= _MAX_VALUE else f"…{text[-_MAX_VALUE:]}"
    return json.dumps(cut, ensure_ascii=False)


def _on_one_line(expression: str) -> str:
    """Return the part of an expression as it is read: where its lines break means nothing."""
    return _cut(" ".join(line.strip() for line in expression.splitlines()))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"
