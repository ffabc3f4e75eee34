"""Reads objects of a cluster: each for itself, so that one that is wrong stops no other.

Files are taken all or none, as somebody who changes them stands by. A cluster has the objects of
many, who know nothing of each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from broker.errors import InvalidManifest, Problem
from broker.manifest.classes import ours
from broker.manifest.declared import Declared, asked_for
from broker.manifest.destinations import Address, Elsewhere, Lookup
from broker.manifest.load import Loaded, by_place, declare, loaded, read_objects
from broker.manifest.needs import Need
from broker.manifest.objects import Object, Place, objects_of
from broker.manifest.problems import Loc, Report
from broker.manifest.shapes import Reference
from broker.manifest.trust import distrust
from broker.manifest.yamltree import Document, Json
from broker.trigger import Desired

WHERE: Final = "this cluster"

_HINT: Final = re.compile(
    r" \((?:did you mean '(?:\w+ )?([^'/ ]+)/[^']+'\?|there is one in the namespace '([^']+)')\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The ``objects`` of a cluster, as far as they are known.

    ``unknown`` says by ``Kind namespace/name`` why of others it is not known whether they are
    there. Of brokers those of these ``classes`` are run, or of all where none is named. Unless
    their authors are ``trusted``, objects may not act with the mesh's own rights.
    """

    objects: Sequence[Mapping[str, Json]]
    unknown: Mapping[str, str] = field(default_factory=dict)
    classes: Collection[str] = ()
    trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the objects of a cluster, and files beside them, ask for.

    ``problems`` has what is wrong with each object, by ``Kind namespace/name``: it does not run as
    it is. What runs in its place is what it last was when nothing was wrong with it, if that was
    ever, which ``good`` has of all; a trigger that does not run is held. ``good`` has no object
    that is another mesh's.
    """

    loaded: Loaded
    problems: Mapping[str, Sequence[Problem]]
    ours: frozenset[str]
    good: Mapping[str, dict[str, Json]] = field(repr=False)


def judge(
    paths: Sequence[Path],
    found: Found,
    *,
    elsewhere: Elsewhere,
    formerly: Mapping[str, dict[str, Json]],
    needs: set[Need],
    refuse: Callable[[Desired], Sequence[Problem]] = lambda _: (),
) -> Judged:
    """Return what the objects ``found`` in a cluster, and the files at ``paths``, ask for.

    ``formerly`` is what was ``good`` before. What the objects refer to is put into ``needs``, also
    where this raises `InvalidManifest`, with what is wrong in the files. ``refuse`` returns what
    else is wrong. Blocks: meant for a thread.
    """
    reading = Report(where=WHERE)
    of_files = read_objects(paths, reading) if paths else ()
    if reading.errors:
        raise InvalidManifest(by_place((*reading.errors, *reading.warnings), paths))
    given = {Need(each.api_version, each.kind, each.namespace, each.name) for each in of_files}
    in_cluster = [each for value in found.objects for each in _objects(value)]
    objects = {each.subject: each for each in ours(of_files, in_cluster, found.classes)}
    others = {each.subject for each in in_cluster} - objects.keys()
    elsewhere = replace(elsewhere, look_up=_but_our_brokers(elsewhere.look_up, others))
    taken = dict(objects)
    problems: dict[str, Sequence[Problem]] = {}
    while True:
        report = _Report(where=WHERE)
        declared = _declare(of_files, taken.values(), report, trusted=found.trusted)
        noted: set[Need] = set()
        desired, bindings = asked_for(declared, elsewhere, report, noted)
        needs |= noted - given
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
                problems[subject] = [
                    _with_causes(_of_own(each, objects[subject]), problems, found.unknown)
                    for each in wrong[subject]
                ]
            former = formerly.get(subject)
            if former is not None and taken[subject].value != former:
                [taken[subject]] = _objects(former)
            else:
                del taken[subject]
    if report.errors:
        causes = [_with_causes(each, problems, found.unknown) for each in report.errors]
        raise InvalidManifest(by_place((*causes, *report.warnings), paths))
    told = [problem for each in problems.values() for problem in each]
    warnings = by_place((*reading.warnings, *report.warnings), paths)
    held = _held(objects.values(), desired)
    return Judged(
        loaded=loaded(declared, replace(desired, held=held), bindings, warnings, told),
        problems=problems,
        ours=frozenset(objects),
        good={subject: each.value for subject, each in taken.items()},
    )


def _declare(
    of_files: Iterable[Object], taken: Collection[Object], report: Report, *, trusted: bool
) -> Declared:
    for each in () if trusted else taken:
        distrust(Place(each, report))
    return declare([*of_files, *taken], report)


class _Report(Report):
    """Blames who asks for something, not what is asked for it: that may be right for others."""

    _reader: Object | None = None

    def reads(self, reader: object) -> None:
        self._reader = reader if isinstance(reader, Object) else None

    def add_at(self, owner: object, loc: Loc, problem: Problem) -> None:
        reader = self._reader
        if reader is not None and owner is not reader:
            owner = (owner, reader)
            problem = replace(
                problem,
                file=reader.file,
                line=reader.line(),
                subject=reader.subject,
                path="",
                message=f"{problem.subject}: {_text(problem)}",
            )
        super().add_at(owner, loc, problem)


def _objects(value: Mapping[str, Json]) -> Sequence[Object]:
    document = Document(file=None, first_line=None, value=dict(value), tree=None)
    return list(objects_of(document, Report(where=WHERE)))


def _by_subject(problems: Iterable[Problem]) -> Mapping[str, Sequence[Problem]]:
    found: dict[str, list[Problem]] = {}
    for each in problems:
        found.setdefault(each.subject, []).append(each)
    return found


def _but_our_brokers(look_up: Lookup | None, others: Collection[str]) -> Lookup:
    """Return the same without our brokers, which are reached within the mesh or not at all."""

    def but_ours(ref: Reference, namespace: str) -> Address | str | None:
        is_ours = ref.kind == "Broker" and f"Broker {namespace}/{ref.name}" not in others
        if look_up is None or is_ours:
            return None
        return look_up(ref, namespace)

    return but_ours


def _of_own(problem: Problem, found: Object) -> Problem:
    """Return the problem without what tells those of a namespace what there is in others."""
    message = _HINT.sub(
        lambda hint: hint[0] if found.namespace in hint.groups() else "", problem.message
    )
    return replace(problem, message=message)


def _with_causes(
    problem: Problem, problems: Mapping[str, Sequence[Problem]], unknown: Mapping[str, str]
) -> Problem:
    """Return the problem with what is wrong with the object that it names as missing."""
    if not problem.message.startswith("no "):
        return problem
    causes = [
        f"{subject}: {_text(each)}"
        for subject, found in problems.items()
        if _is_named(subject, problem.message)
        for each in found
    ]
    causes += [why for subject, why in unknown.items() if _is_named(subject, problem.message)]
    return replace(problem, message="; ".join([problem.message, *causes])) if causes else problem


def _is_named(subject: str, missing: str) -> bool:
    """Return whether that is what a message of what is missing is about."""
    kind, _, key = subject.partition(" ")
    namespace, _, name = key.partition("/")
    return missing.startswith(
        (
            f"no {kind} '{key}' ",
            f"no {kind} {key} ",
            f"no {kind} '{name}' in the namespace '{namespace}' ",
        )
    )


def _text(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message


def _held(objects: Collection[Object], desired: Desired) -> frozenset[str]:
    triggers = {each.key for each in objects if each.kind == "Trigger"}
    return frozenset(triggers - desired.triggers.keys())
