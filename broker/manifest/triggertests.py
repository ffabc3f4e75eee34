"""Reads the tests of triggers: events, and which triggers must and must not get them.

A file of tests stands beside the manifests, and holds objects of a kind of the mesh's own,
``TriggerTest``; ``docs/trigger-tests.md`` has its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from broker.errors import InvalidManifest, Problem, did_you_mean
from broker.event import Event
from broker.manifest.files import read_file
from broker.manifest.kinds import TEST_KIND, is_tested
from broker.manifest.objects import Place, objects_of
from broker.manifest.problems import Report
from broker.manifest.reading import read_object, required
from broker.manifest.shapes import KubernetesObject, Shape
from broker.manifest.testevents import event_in, event_of
from broker.manifest.yamltree import read_documents
from broker.trigger import Desired

Manifests = Callable[[Sequence[Path]], Desired]
"""Returns what the manifests at these paths ask for, or raises `InvalidManifest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test, which begins in ``line`` of its file.

    ``wanted`` says of triggers, by key, whether the event must pass their filters; ``named``
    are those that the test names.
    """

    name: str
    line: int
    event: Event
    wanted: Mapping[str, bool]
    named: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The tests of one ``TriggerTest``, and the manifests that they are about."""

    key: str
    desired: Desired
    cases: tuple[Case, ...]


def read_suites(file: Path, manifests: Manifests) -> tuple[Suite, ...]:
    """Return the tests of a file, or raise `InvalidManifest` with everything that is wrong.

    What is wrong with the tests comes first, in the order of the lines, and then what is wrong
    with the manifests. Blocks.
    """
    report = Report()
    faults: dict[Problem, None] = {}
    suites = []
    for shape, place in _objects(file, report):
        try:
            desired = manifests([file.parent / path for path in shape.spec.manifests])
        except InvalidManifest as error:
            faults |= dict.fromkeys(each for each in error.problems if each.severity == "error")
            desired = None
        suites.append(_suite(shape, place, desired))
    problems = [*sorted(report.errors, key=lambda each: each.line or 0), *faults]
    if not suites and not problems:
        problems = [Problem(file=file, line=None, message=f"no {TEST_KIND} in this file")]
    if problems:
        raise InvalidManifest(problems)
    return tuple(suite for suite in suites if suite is not None)


# --- shapes --------------------------------------------------------------------------------


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ValueError("must not be empty")
    return line


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("is not the path of a file or folder")
    return text


RelativePath = Annotated[str, AfterValidator(_path)]


class CaseShape(Shape):
    """One test: an event, and the names of triggers."""

    name: Annotated[str, AfterValidator(_one_line)] | None = None
    event: dict[str, object] | None = None
    event_file: RelativePath | None = None
    matches: list[str] = Field(default=[])
    does_not_match: list[str] = Field(default=[])
    matches_only: list[str] | None = None


class SuiteSpec(Shape):
    """Paths are relative to the file that they stand in."""

    manifests: list[RelativePath] = Field(default=["."], min_length=1)
    broker: str | None = None
    tests: Annotated[list[CaseShape], Field(min_length=1)] | None = None


class TriggerTestObject(KubernetesObject):
    spec: SuiteSpec = SuiteSpec()


# --- reading -------------------------------------------------------------------------------


def _objects(file: Path, report: Report) -> Iterator[tuple[TriggerTestObject, Place]]:
    content = read_file(file)
    if isinstance(content, Problem):
        report.add(content)
        return
    for document in read_documents(file, content, report):
        for each in objects_of(document, report):
            place = Place(each, report)
            shape = read_object(TriggerTestObject, place) if is_tested(place) else None
            if shape is not None:
                yield shape, place


@dataclass(frozen=True, slots=True)
class _Tested:
    """The broker, by key, whose triggers are tested."""

    broker: str
    desired: Desired

    def triggers(self) -> Iterator[str]:
        return (key for key, each in self.desired.triggers.items() if each.broker == self.broker)

    def named(self, names: Sequence[str], place: Place) -> dict[str, Place]:
        """Return the keys of the triggers that are named at ``place``; report unknown ones."""
        namespace = self.broker.partition("/")[0]
        found = {}
        for index, name in enumerate(names):
            key = name if "/" in name else f"{namespace}/{name}"
            trigger = self.desired.triggers.get(key)
            if trigger is None:
                known = [each.removeprefix(f"{namespace}/") for each in self.triggers()]
                hint = did_you_mean(name, known)
                place.at(index).error(f"no Trigger '{name}' of the Broker {self.broker}{hint}")
            elif trigger.broker != self.broker:
                place.at(index).error(f"is a Trigger of the Broker {trigger.broker}")
            else:
                found[key] = place.at(index)
        return found


def _suite(shape: TriggerTestObject, place: Place, desired: Desired | None) -> Suite | None:
    """Return the tests of an object, or None where they cannot be run; report why."""
    at_broker, at_tests = place.at("spec", "broker"), place.at("spec", "tests")
    tested = None if desired is None else _tested(shape, desired, at_broker)
    tests = required(shape.spec.tests, at_tests) or []
    _refuse_twins(tests, at_tests)
    cases = [_case(each, at_tests.at(index), tested) for index, each in enumerate(tests)]
    if tested is None:
        return None
    return Suite(
        key=place.object.key,
        desired=tested.desired,
        cases=tuple(case for case in cases if case is not None),
    )


def _tested(shape: TriggerTestObject, desired: Desired, place: Place) -> _Tested | None:
    name, namespace = shape.spec.broker, shape.metadata.namespace
    if name is not None:
        key = name if "/" in name else f"{namespace}/{name}"
        if key in desired.brokers:
            return _Tested(key, desired)
        known = [each.removeprefix(f"{namespace}/") for each in desired.brokers]
        place.error(f"no Broker '{key}' in the manifests{did_you_mean(name, known)}")
        return None
    anywhere = "namespace" not in shape.metadata.model_fields_set
    found = [key for key in desired.brokers if anywhere or key.startswith(f"{namespace}/")]
    if len(found) == 1:
        return _Tested(found[0], desired)
    if found:
        place.error(f"has to say which Broker is tested: {', '.join(found)}")
    else:
        where = "" if anywhere else f" the namespace '{namespace}' of"
        place.error(f"no Broker in{where} the manifests")
    return None


def _refuse_twins(tests: Sequence[CaseShape], place: Place) -> None:
    first: dict[str, int] = {}
    for index, each in enumerate(tests):
        if each.name is not None and first.setdefault(each.name, index) != index:
            line = place.object.line(place.at(first[each.name]).loc)
            place.at(index, "name").error(f"given twice; first in line {line}")


def _case(shape: CaseShape, place: Place, tested: _Tested | None) -> Case | None:
    name = required(shape.name, place.at("name"))
    event = _event(shape, place)
    wanted, named = _expectations(shape, place, tested)
    if name is None or event is None:
        return None
    line = place.object.line(place.loc) or 0
    return Case(name=name, line=line, event=event, wanted=wanted, named=named)


def _event(shape: CaseShape, place: Place) -> Event | None:
    if shape.event_file is None:
        if shape.event is None:
            place.at("event").error("is missing, and so is 'eventFile'")
            return None
        return event_of(shape.event, place.at("event"))
    if shape.event is not None:
        place.at("eventFile").error("excludes 'event'")
    return event_in((place.object.file or Path()).parent / shape.event_file, place.at("eventFile"))


def _expectations(
    shape: CaseShape, place: Place, tested: _Tested | None
) -> tuple[Mapping[str, bool], frozenset[str]]:
    """Return the ``wanted`` and the ``named`` of a test."""
    only = shape.matches_only
    if only is None and not shape.matches and not shape.does_not_match:
        place.at("matches").error(
            "expects nothing: name triggers here, in 'doesNotMatch' or in 'matchesOnly'"
        )
    if only is not None and (shape.matches or shape.does_not_match):
        place.at("matchesOnly").error("says it all: leave out 'matches' and 'doesNotMatch'")
    if tested is None:
        return {}, frozenset()
    must = tested.named(shape.matches, place.at("matches"))
    must_not = tested.named(shape.does_not_match, place.at("doesNotMatch"))
    for key, at_name in must_not.items():
        if key in must:
            at_name.error("stands in 'matches' too")
    wanted = {**dict.fromkeys(must, True), **dict.fromkeys(must_not, False)}
    if only is not None:
        must = tested.named(only, place.at("matchesOnly"))
        wanted = {key: key in must for key in tested.triggers()}
    return wanted, frozenset((*must, *must_not))
