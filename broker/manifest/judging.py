"""Reads objects of a cluster: each for itself, so that one that is wrong stops no other.

Files are taken all or none, as somebody who changes them stands by. A cluster has the objects of
many, who know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.errors import InvalidManifest, Problem
from broker.manifest.declared import Declared, asked_for
from broker.manifest.destinations import Elsewhere
from broker.manifest.load import Loaded, by_place, declare, loaded, read_objects
from broker.manifest.needs import Need
from broker.manifest.objects import Object, objects_of
from broker.manifest.problems import Report
from broker.manifest.yamltree import Document, Json
from broker.trigger import Desired

WHERE = "this cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the objects of a cluster, and files beside them, ask for.

    ``problems`` has what is wrong with each object, by ``Kind namespace/name``: it does not run as
    it is. What runs in its place is what it last was when nothing was wrong with it, if that was
    ever, which ``good`` has of all; a trigger that does not run is held. ``needs`` are what the
    objects refer to.
    """

    loaded: Loaded
    problems: Mapping[str, Sequence[Problem]]
    needs: frozenset[Need]
    good: Mapping[str, dict[str, Json]] = field(repr=False)


def judge(
    paths: Sequence[Path],
    found: Iterable[Mapping[str, Json]],
    *,
    elsewhere: Elsewhere,
    formerly: Mapping[str, dict[str, Json]],
    refuse: Callable[[Desired], Sequence[Problem]] = lambda _: (),
) -> Judged:
    """Return what the objects ``found`` in a cluster, and the files at ``paths``, ask for.

    ``formerly`` is what was ``good`` before. ``refuse`` returns what else is wrong. Raises
    `InvalidManifest` with what is wrong in the files. Blocks: meant for a thread.
    """
    reading = Report(where=WHERE)
    of_files = read_objects(paths, reading)
    if reading.errors:
        raise InvalidManifest(by_place((*reading.errors, *reading.warnings), paths))
    objects = {each.subject: each for value in found for each in _objects(value)}
    taken = dict(objects)
    problems: dict[str, Sequence[Problem]] = {}
    needs: set[Need] = set()
    while True:
        report = Report(where=WHERE)
        declared = declare([*of_files, *taken.values()], report)
        desired, bindings = asked_for(declared, elsewhere, report, needs)
        if not report.errors:
            for problem in refuse(desired):
                report.add(problem)
        wrong = _by_subject(report.errors)
        # What depends on an object that was left out is wrong by that alone, and told beside it.
        left_out = [subject for subject in wrong if subject in taken]
        if not left_out:
            break
        for subject in left_out:
            if subject not in problems:  # else it is told of its former self
                problems[subject] = [_with_causes(each, problems) for each in wrong[subject]]
            former = formerly.get(subject)
            if former is not None and taken[subject].value != former:
                [taken[subject]] = _objects(former)
            else:
                del taken[subject]
    if report.errors:
        raise InvalidManifest(by_place((*report.errors, *report.warnings), paths))
    told = [problem for each in problems.values() for problem in each]
    warnings = by_place((*reading.warnings, *report.warnings), paths)
    held = _held(objects.values(), desired)
    return Judged(
        loaded=loaded(declared, replace(desired, held=held), bindings, warnings, told),
        problems=problems,
        needs=frozenset(needs - _given(declared)),
        good={subject: each.value for subject, each in taken.items()},
    )


def _objects(value: Mapping[str, Json]) -> Sequence[Object]:
    document = Document(file=None, first_line=None, value=dict(value), tree=None)
    return list(objects_of(document, Report(where=WHERE)))


def _by_subject(problems: Iterable[Problem]) -> Mapping[str, Sequence[Problem]]:
    found: dict[str, list[Problem]] = {}
    for each in problems:
        found.setdefault(each.subject, []).append(each)
    return found


def _with_causes(problem: Problem, problems: Mapping[str, Sequence[Problem]]) -> Problem:
    """Return the problem with what is wrong with the object that it names as missing."""
    causes = [
        f"{subject}: {f'{each.path}: ' if each.path else ''}{each.message}"
        for subject, found in problems.items()
        for each in found
        if f"'{subject.rpartition(' ')[2]}'" in problem.message
    ]
    return replace(problem, message="; ".join([problem.message, *causes])) if causes else problem


def _held(objects: Collection[Object], desired: Desired) -> frozenset[str]:
    triggers = {each.key for each in objects if each.kind == "Trigger"}
    return frozenset(triggers - desired.triggers.keys())


def _given(declared: Declared) -> frozenset[Need]:
    """Return what files give of what is referred to: nobody has to be asked for that."""
    return frozenset(
        Need(each.api_version, each.kind, each.namespace, each.name)
        for each in (place.object for place in declared.all())
        if each.file is not None
    )
