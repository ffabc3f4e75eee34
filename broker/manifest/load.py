"""Reads manifests: files in, what should run out, or everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import InvalidManifest, Problem
from broker.manifest.declared import Declared, asked_for
from broker.manifest.destinations import CLUSTER_DOMAIN, Elsewhere
from broker.manifest.files import files_of_tests, manifest_files, read_file
from broker.manifest.kinds import is_run
from broker.manifest.objects import Object, Place, objects_of
from broker.manifest.problems import Report
from broker.manifest.sinkbindings import SinkBinding
from broker.manifest.yamltree import Json, read_documents
from broker.status import Declared as WhereDeclared
from broker.status import Manifests
from broker.trigger import Desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the manifests ask for, and what is doubtful about them.

    ``bindings`` are for programs that others run, by ``namespace/name``. ``objects`` are all that
    the mesh runs or refers to, as they were written, by kind and name; ``manifests`` say where.
    ``problems`` are of objects that were left out: those of files are taken all, or none.
    """

    desired: Desired
    bindings: Mapping[str, SinkBinding]
    manifests: Manifests
    objects: Mapping[str, Json] = field(default_factory=dict, repr=False)
    problems: Sequence[Problem] = ()

    @property
    def warnings(self) -> Sequence[Problem]:
        return self.manifests.warnings


def load(
    paths: Sequence[Path],
    *,
    resolve: Mapping[str, str] | None = None,
    domain: str = CLUSTER_DOMAIN,
) -> Loaded:
    """Return what the files at ``paths`` ask for, or raise `InvalidManifest` with every problem.

    The problems come in the order of the files and lines, warnings among them. ``resolve`` maps
    ``Kind/namespace/name`` to the URL that stands for it, ``domain`` is that of a cluster's
    Services. The result follows from these, the files and the installed plug-ins alone, the
    warnings also from the date. Blocks: meant for a thread.
    """
    report = Report()
    declared = declare(read_objects(paths, report), report)
    elsewhere = Elsewhere(resolve=resolve or {}, domain=domain)
    desired, bindings = asked_for(declared, elsewhere, report, set())
    if report.errors:
        raise InvalidManifest(by_place((*report.errors, *report.warnings), paths))
    return loaded(declared, desired, bindings, by_place(report.warnings, paths))


def by_place(problems: Sequence[Problem], paths: Sequence[Path]) -> Sequence[Problem]:
    """Return the problems in the order of the files at ``paths``, and of their lines."""
    if not problems:
        return ()
    order = {file: number for number, file in enumerate(manifest_files(paths))}

    def place(problem: Problem) -> tuple[int, int]:
        return (order.get(problem.file, -1) if problem.file else -1, problem.line or 0)

    return sorted(problems, key=place)


def read_objects(paths: Sequence[Path], report: Report) -> Sequence[Object]:
    """Return the objects in the files at ``paths``, in their order; report what is no object."""
    objects = [
        each
        for file, content in _readable(manifest_files(paths), report)
        for document in read_documents(file, content, report)
        for each in objects_of(document, report)
    ]
    _refuse_overlooked(paths, report)
    return objects


def declare(objects: Iterable[Object], report: Report) -> Declared:
    """Return those of the objects that the mesh runs; report those that it should and cannot."""
    declared = Declared()
    for each in objects:
        place = Place(each, report)
        if is_run(place):
            declared.add(place)
    return declared


def loaded(
    declared: Declared,
    desired: Desired,
    bindings: Mapping[str, SinkBinding],
    warnings: Sequence[Problem],
    problems: Sequence[Problem] = (),
) -> Loaded:
    objects = [each.object for each in declared.all()]
    return Loaded(
        desired=desired,
        bindings=bindings,
        manifests=Manifests(
            objects=[_where_declared(each) for each in objects], warnings=tuple(warnings)
        ),
        objects={each.subject: each.value for each in objects},
        problems=problems,
    )


def _readable(files: Iterable[Path | Problem], report: Report) -> Iterator[tuple[Path, bytes]]:
    for each in files:
        content = each if isinstance(each, Problem) else read_file(each)
        if isinstance(content, bytes) and isinstance(each, Path):
            yield each, content
        elif isinstance(content, Problem):
            report.complete = False
            report.add(content)


def _where_declared(each: Object) -> WhereDeclared:
    return WhereDeclared(kind=each.kind, key=each.key, file=each.file, line=each.line())


def _refuse_overlooked(paths: Sequence[Path], report: Report) -> None:
    """Report what would run if the name of its file did not say that it holds tests.

    What else is wrong in such a file is `cemesh test`'s to tell.
    """
    for file, content in _readable(files_of_tests(paths), Report()):
        for document in read_documents(file, content, Report()):
            for each in objects_of(document, Report()):
                if is_run(Place(each, Report())):
                    place = Place(each, report)
                    place.error("is overlooked in a file of tests: move it, or rename the file")
