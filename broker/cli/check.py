"""``cemesh check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.exits import Exit
from broker.cli.help import Command
from broker.cli.options import output_option, resolve_option
from broker.errors import InvalidManifest, Problem

if TYPE_CHECKING:
    from broker.trigger import Desired


@click.command(
    cls=Command,
    short_help="Say what is wrong with manifests.",
    epilog="""
    Examples:

      cemesh check mesh.yaml
      cemesh check manifests/ --output json

    Exit codes:

      0  the mesh could run; there may be warnings
      1  there are problems
      2  wrong usage
    """,
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@resolve_option
@output_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    resolve: tuple[tuple[str, str], ...],
    output: str,
) -> None:
    """Say everything that is wrong with the manifests in PATHS, without running them.

    Each problem is one line: file, line, object, path of the field, what is wrong.
    """
    from broker.manifest import load

    desired: Desired | None
    problems: Sequence[Problem]
    try:
        loaded = load(paths, resolve=dict(resolve))
    except InvalidManifest as error:
        desired, problems = None, error.problems
    else:
        desired, problems = loaded.desired, loaded.warnings
    if output == "json":
        _print_json(desired, problems)
    else:
        _print_text(desired, problems)
    ctx.exit(Exit.REFUSED if desired is None else Exit.OK)


def _print_text(desired: Desired | None, problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem))
    errors = sum(problem.severity == "error" for problem in problems)
    told = f"{_count(errors, 'problem')}, {_count(len(problems) - errors, 'warning')}"
    if desired is not None:
        told = (
            f"{_count(len(desired.brokers), 'broker')}, "
            f"{_count(len(desired.triggers), 'trigger')}, "
            f"{_count(len(desired.sources), 'source')}: {told}"
        )
    click.echo(told)


def _print_json(desired: Desired | None, problems: Sequence[Problem]) -> None:
    import msgspec

    from broker.admin.models import ManifestProblem
    from broker.trigger import Desired

    class Checked(msgspec.Struct, frozen=True, kw_only=True):
        valid: bool
        brokers: Sequence[str]
        triggers: Sequence[str]
        sources: Sequence[str]
        problems: Sequence[ManifestProblem]

    found = Desired() if desired is None else desired
    checked = Checked(
        valid=desired is not None,
        brokers=list(found.brokers),
        triggers=list(found.triggers),
        sources=list(found.sources),
        problems=[ManifestProblem.of(problem) for problem in problems],
    )
    click.echo(msgspec.json.encode(checked))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
