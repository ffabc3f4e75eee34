"""What came out of the tests of triggers, as CI systems read it: JUnit's XML.

All text goes through `printable`, which leaves no character that XML 1.0 (section 2.2) excludes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from broker.cli.printing import printable
from broker.cli.testing import Outcome, Ran, Refused, Result, results_of
from broker.cli.testreport import complaint, counted, counts, difference, name_of


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """Return the report: a suite for every file, and in it a case for every test.

    A file that could not be run has a single case, which is in error.
    """
    root = Element("testsuites", {"name": "cemesh test", **_totals(outcomes)})
    for outcome in outcomes:
        file = printable(str(outcome.file))
        suite = SubElement(root, "testsuite", {"name": file, "file": file, **_totals([outcome])})
        match outcome:
            case Ran(results=results):
                for result in results:
                    _add_result(suite, file, result)
            case Refused():
                _add_refusal(suite, file, outcome)
            case _:
                assert_never(outcome)
    indent(root)
    report: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return report + b"\n"


def _add_result(suite: Element, file: str, result: Result) -> None:
    case = SubElement(
        suite,
        "testcase",
        classname=result.suite.replace("/", "."),
        name=printable(result.case.name),
        file=file,
        line=str(result.case.line),
        time=_seconds([result]),
    )
    if not result.passed:
        message = "; ".join(
            f"{name_of(each.trigger)} {complaint(each)}" for each in result.mismatches
        )
        failure = SubElement(case, "failure", type="mismatch", message=message)
        failure.text = "\n".join(difference(result))


def _add_refusal(suite: Element, file: str, refused: Refused) -> None:
    case = SubElement(suite, "testcase", classname=file, name="can be run", file=file)
    message = counted(len(refused.problems), "problem")
    error = SubElement(case, "error", type="problem", message=message)
    error.text = "\n".join(printable(str(each)) for each in refused.problems)


def _totals(outcomes: Sequence[Outcome]) -> dict[str, str]:
    tests, failed, refused = counts(outcomes)
    return {
        "tests": str(tests + refused),
        "failures": str(failed),
        "errors": str(refused),
        "skipped": "0",
        "time": _seconds(results_of(outcomes)),
    }


def _seconds(results: Sequence[Result]) -> str:
    return f"{sum(each.took.total_seconds() for each in results):.6f}"
