"""The status of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from broker.admin.models.base import Document
from broker.errors import Problem
from broker.settings import Part
from broker.status import (
    BrokerStatus,
    Declared,
    MeshStatus,
    SourceStatus,
    TriggerStatus,
    WorkerStatus,
)
from broker.urls import without_credentials


class Ready(Document, frozen=True, kw_only=True):
    """Whether the mesh takes events, and, if not, why: one sentence each."""

    ready: bool
    reasons: Sequence[str]


class TriggerDocument(Document, frozen=True, kw_only=True):
    name: str
    subscriber: str
    in_flight: int
    matched: int
    delivered: int
    dead_lettered: int
    waiting: int
    oldest_waiting: datetime | None
    unaccounted: int
    state: str = "running"
    why: str | None = None
    until: datetime | None = None
    parked: int = 0

    @classmethod
    def of(cls, trigger: TriggerStatus) -> TriggerDocument:
        books = trigger.books
        return cls(
            name=trigger.key,
            subscriber=without_credentials(trigger.subscriber),
            in_flight=trigger.in_flight,
            matched=books.matched,
            delivered=books.delivered,
            dead_lettered=books.dead_lettered,
            waiting=books.waiting,
            oldest_waiting=books.oldest_waiting,
            unaccounted=books.unaccounted,
            state=trigger.state.phase,
            why=trigger.state.why,
            until=trigger.state.until,
            parked=trigger.parked,
        )


class BrokerDocument(Document, frozen=True, kw_only=True):
    name: str
    channel: str
    accepted: int
    unavailable: str | None
    triggers: Sequence[TriggerDocument]

    @classmethod
    def of(cls, broker: BrokerStatus) -> BrokerDocument:
        return cls(
            name=broker.key,
            channel=broker.channel,
            accepted=broker.accepted,
            unavailable=broker.unavailable,
            triggers=[TriggerDocument.of(trigger) for trigger in broker.triggers],
        )


class SourceDocument(Document, frozen=True, kw_only=True):
    """One source; ``state`` is one of ``running``, ``unhealthy``, ``restarting``, ``standby``."""

    kind: str
    name: str
    broker: str
    state: str
    error: str | None
    emitted: int
    rejected: int
    restarts: int
    lag: int | None
    lag_since: datetime | None

    @classmethod
    def of(cls, source: SourceStatus) -> SourceDocument:
        return cls(
            kind=source.kind,
            name=source.key,
            broker=source.broker,
            state=source.state,
            error=source.error,
            emitted=source.emitted,
            rejected=source.rejected,
            restarts=source.restarts,
            lag=source.lag,
            lag_since=source.lag_since,
        )


class ManifestProblem(Document, frozen=True, kw_only=True):
    """One thing that is wrong in the manifests. ``line`` is counted from 1."""

    file: str | None
    line: int | None
    subject: str
    path: str
    message: str
    severity: str

    @classmethod
    def of(cls, problem: Problem) -> ManifestProblem:
        return cls(
            file=None if problem.file is None else str(problem.file),
            line=problem.line,
            subject=problem.subject,
            path=problem.path,
            message=problem.message,
            severity=problem.severity,
        )


class DeclaredDocument(Document, frozen=True, kw_only=True):
    """An object of the manifests, and where it stands. ``line`` is counted from 1.

    What is an object of a cluster has neither file nor line.
    """

    kind: str
    name: str
    file: str | None
    line: int | None

    @classmethod
    def of(cls, declared: Declared) -> DeclaredDocument:
        return cls(
            kind=declared.kind,
            name=declared.key,
            file=None if declared.file is None else str(declared.file),
            line=declared.line,
        )


class ManifestsDocument(Document, frozen=True, kw_only=True):
    """What runs, what is doubtful about it, and why the files as they are now do not run."""

    objects: Sequence[DeclaredDocument]
    warnings: Sequence[ManifestProblem]
    problems: Sequence[ManifestProblem]

    @classmethod
    def of(cls, status: MeshStatus) -> ManifestsDocument:
        return cls(
            objects=[DeclaredDocument.of(each) for each in status.manifests.objects],
            warnings=[ManifestProblem.of(each) for each in status.manifests.warnings],
            problems=[ManifestProblem.of(each) for each in status.wrong],
        )


class WorkerDocument(Document, frozen=True, kw_only=True):
    """One of the processes of a mesh that runs in several; ``pid`` is null while it is starting."""

    number: int
    pid: int | None
    state: str

    @classmethod
    def of(cls, worker: WorkerStatus) -> WorkerDocument:
        return cls(number=worker.number, pid=worker.pid, state=worker.state)


class StatusDocument(Document, frozen=True, kw_only=True):
    """``parts`` are those of the mesh that run in this process, all of them by `cemesh run`.

    ``workers`` are empty where that is one process.
    """

    parts: Sequence[str] = tuple(part.value for part in Part)
    brokers: Sequence[BrokerDocument]
    sources: Sequence[SourceDocument]
    problems: Sequence[ManifestProblem]
    workers: Sequence[WorkerDocument] = ()

    @classmethod
    def of(cls, status: MeshStatus) -> StatusDocument:
        return cls(
            parts=[part.value for part in Part if part in status.parts],
            brokers=[BrokerDocument.of(broker) for broker in status.brokers],
            sources=[SourceDocument.of(source) for source in status.sources],
            problems=[ManifestProblem.of(problem) for problem in status.wrong],
            workers=[WorkerDocument.of(worker) for worker in status.workers],
        )
