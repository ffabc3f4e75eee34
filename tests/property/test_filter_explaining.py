"""An explanation is there just when it is needed, leads somewhere, and is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hypothesis import given

from broker.cesql import parse
from broker.filters import Clause, Filter, explain
from broker.manifest.filters import spec_of
from broker.manifest.yamltree import Json
from tests.property.filters import events, filters

HOLDS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "attributes": lambda actual, expected: actual == expected or not expected,
}


@given(filter=filters, event=events)
def test_a_filter_is_explained_just_where_it_does_not_match(
    filter: Filter, event: dict[str, str]
) -> None:
    assert (explain(filter, event) == ()) is filter.matches(event)


@given(filter=filters, event=events)
def test_every_clause_stands_in_the_manifest_at_its_path(
    filter: Filter, event: dict[str, str]
) -> None:
    there = dict(places(spec_of(filter)))
    for clause in explain(filter, event):
        if clause.attribute is None:
            assert clause.expected in str(there[clause.path])
        else:
            assert there[f"{clause.path}.{clause.attribute}"] == clause.expected


@given(filter=filters, event=events)
def test_every_clause_has_the_verdict_that_kept_the_event_out(
    filter: Filter, event: dict[str, str]
) -> None:
    for clause in explain(filter, event):
        kept_out_by_being = clause.path.count(".not") % 2 == 1

        assert clause.actual == event.get(clause.attribute or "")
        assert holds(filter, clause, event) is kept_out_by_being


def places(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every value within this one, with its path."""
    yield path, value
    if isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, f"{path}[{index}]")


def holds(filter: Filter, clause: Clause, event: dict[str, str]) -> bool:
    if clause.attribute is None:
        return parse(str(dict(places(spec_of(filter)))[clause.path])).passes(event)
    dialect = clause.path.rpartition(".")[2]
    return clause.actual is not None and HOLDS[dialect](clause.actual, clause.expected)
