"""``cemesh test``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker.cli.exits import Exit, RefusedError
from broker.cli.help import Command
from broker.cli.options import output_option, resolve_option

if TYPE_CHECKING:
    from broker.cli.testing import Outcome

_MAX_NAMES: Final = 10


@click.command(
    "test",
    cls=Command,
    short_help="Run the tests of triggers that stand beside manifests.",
    epilog="""
    Examples:

      cemesh test
      cemesh test manifests/ --filter refund --verbose
      cemesh test manifests/orders_test.yaml --junit report.xml

    Exit codes:

      0  every test passed
      1  a test failed, or there are problems with tests or manifests
      2  wrong usage; or there is no such test
    """,
)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-k",
    "--filter",
    "only",
    metavar="TEXT",
    default="",
    help="Run only the tests that have TEXT in their names.",
)
@click.option("-v", "--verbose", is_flag=True, help="List the tests that pass, too.")
@click.option(
    "--junit",
    "report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what came out to FILE, too, as JUnit's XML.",
)
@resolve_option
@output_option
@click.pass_context
def run_tests(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    only: str,
    verbose: bool,
    report: Path | None,
    resolve: tuple[tuple[str, str], ...],
    output: str,
) -> None:
    """Run the tests in PATHS (here unless given): events, and which triggers must get them.

    Tests stand beside the manifests, in files called *_test.yaml. They need no mesh that runs,
    and send nothing.
    """
    import msgspec

    from broker.cli import testreport

    outcomes = _outcomes(paths or (Path(),), only, dict(resolve))
    tests, failed, refused = testreport.counts(outcomes)
    if not tests and not refused:
        raise click.UsageError(f"no test has '{only}' in its name")
    if report is not None:
        _write(report, outcomes)
    if output == "json":
        click.echo(msgspec.json.encode(testreport.document(outcomes)))
    else:
        for line in testreport.text(outcomes, verbose=verbose):
            click.echo(line)
        # A trigger may well be named by tests that were not read.
        if not refused and all(path.is_dir() for path in paths):
            _print_hint(testreport.untested(outcomes))
    ctx.exit(Exit.REFUSED if failed or refused else Exit.OK)


def _outcomes(paths: Sequence[Path], only: str, resolve: dict[str, str]) -> list[Outcome]:
    from broker.cli.testing import Refused, loader, run
    from broker.errors import Problem
    from broker.manifest.files import files_of_tests

    found = list(files_of_tests(paths))
    problems = [each for each in found if isinstance(each, Problem)]
    if len(problems) == len(found):
        raise click.UsageError("\n".join(map(str, problems)))
    manifests = loader(resolve)
    return [
        Refused(file=each.file or Path(), problems=(each,))
        if isinstance(each, Problem)
        else run(each, manifests, only=only)
        for each in found
    ]


def _print_hint(untested: Sequence[str]) -> None:
    if untested:
        shown, more = ", ".join(untested[:_MAX_NAMES]), len(untested) - _MAX_NAMES
        click.echo(f"Named by no test: {shown}{f' and {more} more' if more > 0 else ''}", err=True)


def _write(report: Path, outcomes: Sequence[Outcome]) -> None:
    from broker.cli.junit import junit

    try:
        report.write_bytes(junit(outcomes))
    except OSError as error:
        raise RefusedError(f"{report} cannot be written: {error.strerror}") from None
