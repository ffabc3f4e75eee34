"""The objects of the manifests, and the places in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.errors import Problem
from broker.manifest.problems import Loc, Report, path_text
from broker.manifest.yamltree import Document, Json


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Object:
    """One object as it was written. ``root`` is its place in its document.

    ``name`` is empty where there is none that could be one.
    """

    document: Document
    root: Loc
    value: dict[str, Json]
    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def subject(self) -> str:
        return f"{self.kind} {self.key}" if self.name else self.kind

    @property
    def file(self) -> Path | None:
        return self.document.file

    def line(self, loc: Loc = ()) -> int | None:
        return self.document.line(self.root + loc)

    @property
    def where(self) -> str:
        """Where it stands, in words: in a file, or in no file but a cluster."""
        return "the cluster" if self.file is None else f"{self.file}:{self.line()}"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an object, where problems can be reported."""

    object: Object
    report: Report
    loc: Loc = ()

    def at(self, *parts: str | int) -> Place:
        """Return the place below this one that ``parts`` lead to."""
        return Place(self.object, self.report, self.loc + parts)

    def error(self, message: str) -> None:
        """Report what keeps the manifest from running."""
        self.report.add_at(self.object, self.loc, self._problem(message))

    def warn(self, message: str) -> None:
        """Report what is doubtful."""
        problem = self._problem(message)
        self.report.add(
            Problem(
                file=problem.file,
                line=problem.line,
                subject=problem.subject,
                path=problem.path,
                message=message,
                severity="warning",
            )
        )

    def _problem(self, message: str) -> Problem:
        return Problem(
            file=self.object.file,
            line=self.object.line(self.loc),
            subject=self.object.subject,
            path=path_text(self.loc),
            message=message,
        )


def objects_of(document: Document, report: Report) -> Iterator[Object]:
    """Yield the objects of a document: itself, or where it is a List, its items."""
    yield from _objects(document, document.value, (), report)


def _objects(document: Document, value: Json, root: Loc, report: Report) -> Iterator[Object]:
    if not isinstance(value, dict):
        _not_an_object(document, root, "not a Kubernetes object but plain text or a list", report)
        return
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if api_version is None and "specversion" in value:
        message = "an event, not a Kubernetes object: keep those of tests in a folder 'testdata'"
        _not_an_object(document, root, message, report)
    elif not isinstance(api_version, str) or not isinstance(kind, str):
        what = "kind" if isinstance(api_version, str) else "apiVersion"
        _not_an_object(document, root, f"not a Kubernetes object: '{what}' is missing", report)
    elif (api_version, kind) == ("v1", "List"):
        items = value.get("items")
        if isinstance(items, list):
            for index, item in enumerate(items):
                yield from _objects(document, item, (*root, "items", index), report)
        elif items is not None:
            _not_an_object(document, (*root, "items"), "must be a list", report)
    else:
        metadata = value.get("metadata")
        names = metadata if isinstance(metadata, dict) else {}
        yield Object(
            document=document,
            root=root,
            value=value,
            api_version=api_version,
            kind=kind,
            namespace=_text(names.get("namespace")) or "default",
            name=_text(names.get("name")),
        )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _not_an_object(document: Document, root: Loc, message: str, report: Report) -> None:
    report.add(
        Problem(file=document.file, line=document.line(root), path=path_text(root), message=message)
    )
