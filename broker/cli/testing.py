"""Runs the tests of triggers: files in, and what came out of each of their tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from broker.errors import InvalidManifest, Problem
from broker.filters import Clause, explain
from broker.manifest import load
from broker.manifest.triggertests import Case, Manifests, Suite, read_suites
from broker.trigger import Desired, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A trigger that does with an event what the test does not want.

    ``clauses`` are what keeps the event out; there are none where it passes and must not.
    """

    trigger: Trigger
    wanted: bool
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came out of one test. ``suite`` is the key of its ``TriggerTest``."""

    suite: str
    case: Case
    mismatches: tuple[Mismatch, ...]
    took: timedelta

    @property
    def passed(self) -> bool:
        return not self.mismatches


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A file whose tests were run.

    ``triggers`` are the keys of all triggers in the manifests that it is about, ``named`` of
    those that a test in it names.
    """

    file: Path
    results: tuple[Result, ...]
    triggers: frozenset[str]
    named: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A file whose tests cannot be run."""

    file: Path
    problems: tuple[Problem, ...]


Outcome = Ran | Refused


def results_of(outcomes: Iterable[Outcome]) -> list[Result]:
    return [each for outcome in outcomes if isinstance(outcome, Ran) for each in outcome.results]


def run(
    file: Path,
    manifests: Manifests,
    *,
    only: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Run the tests of a file that have ``only`` in their names, in letters of any case.

    ``clock`` tells seconds.
    """
    try:
        suites = read_suites(file, manifests)
    except InvalidManifest as error:
        return Refused(file=file, problems=error.problems)
    return Ran(
        file=file,
        results=tuple(_results(suites, only.casefold(), clock)),
        triggers=frozenset(key for suite in suites for key in suite.desired.triggers),
        named=frozenset(key for suite in suites for case in suite.cases for key in case.named),
    )


def loader(resolve: Mapping[str, str]) -> Manifests:
    """Return what loads manifests, those at the same paths once. ``resolve`` is that of `load`."""
    known: dict[frozenset[str], Desired | tuple[Problem, ...]] = {}

    def manifests(paths: Sequence[Path]) -> Desired:
        key = frozenset(map(os.path.realpath, paths))
        if key not in known:
            try:
                known[key] = load(paths, resolve=resolve).desired
            except InvalidManifest as error:
                known[key] = error.problems
        found = known[key]
        if isinstance(found, tuple):
            raise InvalidManifest(found)
        return found

    return manifests


def _results(suites: Iterable[Suite], only: str, clock: Callable[[], float]) -> Iterator[Result]:
    for suite in suites:
        for case in suite.cases:
            if only in case.name.casefold():
                started = clock()
                mismatches = tuple(_mismatches(case, suite.desired.triggers))
                took = timedelta(seconds=clock() - started)
                yield Result(suite=suite.key, case=case, mismatches=mismatches, took=took)


def _mismatches(case: Case, triggers: Mapping[str, Trigger]) -> Iterator[Mismatch]:
    attributes = case.event.attributes
    for key, wanted in case.wanted.items():
        trigger = triggers[key]
        if trigger.filter.matches(attributes) is not wanted:
            clauses = explain(trigger.filter, attributes)
            yield Mismatch(trigger=trigger, wanted=wanted, clauses=clauses)
