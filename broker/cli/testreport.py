"""What came out of the tests of triggers: for people, and for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

import click
import msgspec

from broker.admin.models import ClauseDocument, ManifestProblem
from broker.cli.printing import printable
from broker.cli.testing import Mismatch, Outcome, Ran, Refused, Result, results_of
from broker.errors import Problem
from broker.event import Event
from broker.filters import EVERYTHING
from broker.manifest.filters import spec_of
from broker.trigger import Trigger

_IN_HEAD: Final = ("source", "subject")
_LEFT_OUT: Final = frozenset({"specversion", "id", "type", "datacontenttype", *_IN_HEAD})
_MAX_WIDTH: Final = 160


# --- for people ----------------------------------------------------------------------------


def text(outcomes: Sequence[Outcome], *, verbose: bool) -> Iterator[str]:
    """Yield the lines that tell what came out: of every file, of tests, and in all."""
    told: set[Problem] = set()
    for outcome in outcomes:
        match outcome:
            case Ran(results=()):  # none of its tests was asked for
                continue
            case Ran():
                yield from _of_file(outcome, verbose=verbose)
            case Refused(file=file, problems=problems):
                word = click.style("ERROR", fg="red", bold=True)
                yield f"{word} {printable(str(file))}  {counted(len(problems), 'problem')}"
                yield from (f"  {printable(str(each))}" for each in problems if each not in told)
                told.update(problems)
            case _:
                assert_never(outcome)
    yield _summary(outcomes)


def difference(result: Result) -> Iterator[str]:
    """Yield what the test wanted and what it got, line by line; nothing where it passed."""
    if result.passed:
        return
    yield _event_line(result.case.event)
    width = max(len(name_of(each.trigger)) for each in result.mismatches)
    for each in result.mismatches:
        yield f"{'-' if each.wanted else '+'} {name_of(each.trigger):{width}}  {complaint(each)}"
        for reason in _reasons(each):
            yield f"  {'':{width}}  {reason}"


def complaint(mismatch: Mismatch) -> str:
    """Return what is wrong, after the name of the trigger."""
    return "must match, and does not" if mismatch.wanted else "must not match, and does"


def name_of(trigger: Trigger) -> str:
    """Return the trigger's name, without the namespace of its broker."""
    return trigger.key.removeprefix(f"{trigger.broker.partition('/')[0]}/")


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def untested(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the keys of the triggers that no test names, in order."""
    ran = [each for each in outcomes if isinstance(each, Ran)]
    named = {key for each in ran for key in each.named}
    return sorted({key for each in ran for key in each.triggers} - named)


def _of_file(ran: Ran, *, verbose: bool) -> Iterator[str]:
    failed = sum(not each.passed for each in ran.results)
    told = counted(len(ran.results), "test")
    yield f"{_word(passed=not failed)} {printable(str(ran.file))}  " + (
        f"{told}, {failed} failed" if failed else told
    )
    for each in ran.results:
        if verbose or not each.passed:
            place = click.style(printable(f"{ran.file}:{each.case.line}"), dim=True)
            yield f"  {_word(passed=each.passed)} {place}  {printable(each.case.name)}"
            yield from (f"        {_coloured(line)}" for line in difference(each))


def _word(*, passed: bool) -> str:
    # As wide as "ERROR", so that what follows stands in one column.
    return click.style("ok   ", fg="green") if passed else click.style("FAIL ", fg="red", bold=True)


def _coloured(line: str) -> str:
    match line[0]:
        case "-":
            return click.style(line, fg="red")
        case "+":
            return click.style(line, fg="green")
        case _:
            return click.style(line, dim=True)


def _event_line(event: Event) -> str:
    attributes = event.attributes
    others = sorted(attributes.keys() - _LEFT_OUT)
    return "  ".join(
        (
            printable(event.type),
            *(
                f"{name}={printable(attributes[name])}"
                for name in (*_IN_HEAD, *others)
                if name in attributes
            ),
        )
    )


def _reasons(mismatch: Mismatch) -> Iterator[str]:
    """Yield which clauses keep the event out, or what the filter is that it passes."""
    if mismatch.wanted:
        yield from (printable(str(clause)) for clause in mismatch.clauses)
    elif mismatch.trigger.filter == EVERYTHING:
        yield "it has no filter"
    else:
        for field, value in spec_of(mismatch.trigger.filter).items():
            line = f"{field}: {json.dumps(value, ensure_ascii=False)}"
            yield printable(line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]} …")


def _summary(outcomes: Sequence[Outcome]) -> str:
    tests, failed, refused = counts(outcomes)
    told = f"{counted(tests, 'test')}, {failed} failed"
    return f"{told}; {counted(refused, 'file')} could not be run" if refused else told


def counts(outcomes: Sequence[Outcome]) -> tuple[int, int, int]:
    """Return how many tests there were, how many of them failed, how many files were refused."""
    results = results_of(outcomes)
    refused = sum(isinstance(outcome, Refused) for outcome in outcomes)
    return len(results), sum(not each.passed for each in results), refused


# --- for scripts ---------------------------------------------------------------------------


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class _MismatchDocument(_Document, frozen=True, kw_only=True):
    trigger: str
    must_match: bool
    clauses: Sequence[ClauseDocument]


class _ResultDocument(_Document, frozen=True, kw_only=True):
    suite: str
    name: str
    line: int
    passed: bool
    mismatches: Sequence[_MismatchDocument]


class _FileDocument(_Document, frozen=True, kw_only=True):
    file: str
    problems: Sequence[ManifestProblem]
    tests: Sequence[_ResultDocument]


class _OutcomeDocument(_Document, frozen=True, kw_only=True):
    passed: bool
    tests: int
    failed: int
    files: Sequence[_FileDocument]
    untested_triggers: Sequence[str]


def document(outcomes: Sequence[Outcome]) -> msgspec.Struct:
    """Return the same for scripts, to be encoded as JSON."""
    tests, failed, refused = counts(outcomes)
    return _OutcomeDocument(
        passed=not failed and not refused,
        tests=tests,
        failed=failed,
        files=[_file_document(each) for each in outcomes],
        untested_triggers=untested(outcomes),
    )


def _file_document(outcome: Outcome) -> _FileDocument:
    match outcome:
        case Ran(file=file, results=results):
            return _FileDocument(
                file=str(file), problems=[], tests=[_result_document(each) for each in results]
            )
        case Refused(file=file, problems=problems):
            told = [ManifestProblem.of(each) for each in problems]
            return _FileDocument(file=str(file), problems=told, tests=[])
        case _:
            assert_never(outcome)


def _result_document(result: Result) -> _ResultDocument:
    return _ResultDocument(
        suite=result.suite,
        name=result.case.name,
        line=result.case.line,
        passed=result.passed,
        mismatches=[
            _MismatchDocument(
                trigger=each.trigger.key,
                must_match=each.wanted,
                clauses=[ClauseDocument.of(clause) for clause in each.clauses],
            )
            for each in result.mismatches
        ],
    )
