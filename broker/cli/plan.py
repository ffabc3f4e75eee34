"""``cemesh plan``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker.cli.exits import Exit
from broker.cli.help import Command
from broker.cli.options import output_option, resolve_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Duration, Key
from broker.errors import InvalidManifest

if TYPE_CHECKING:
    from broker.trigger import Desired

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@click.command(
    cls=Command,
    short_help="Say what a change of the manifests would do to each trigger.",
    epilog="""
    Examples:

      cemesh plan manifests/
      cemesh plan manifests/ --since 7d --examples 10
      cemesh plan mesh.yaml --broker default/default --output json | jq '.brokers[].triggers[]'

    Exit codes:

      0  compared, whether or not anything changes
      1  NEW has problems, every one of them is printed; or there is no such broker
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("paths", metavar="NEW...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--since",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How far to look back in the stored events.",
)
@click.option("--broker", type=Key(), help="This broker alone.")
@click.option(
    "--examples",
    type=click.IntRange(0, 1000),
    default=3,
    show_default=True,
    help="How many events to show that a trigger would gain, and as many that it would lose.",
)
@click.option("--all", "everything", is_flag=True, help="Show triggers that do not change, too.")
@resolve_option
@admin_place
@output_option
def plan(
    *,
    paths: tuple[Path, ...],
    since: timedelta,
    broker: str | None,
    examples: int,
    everything: bool,
    resolve: tuple[tuple[str, str], ...],
    admin: AdminPlace,
    output: str,
) -> None:
    """Run the filters of NEW over the events that the running mesh has stored.

    Says for every trigger how many events more and how many fewer it would get, with examples,
    and changes nothing. NEW is all that would run, as for `cemesh run`: a trigger that is not
    in it counts as removed.
    """
    from broker.cli.client import AdminClient
    from broker.cli.planreading import PlanReader
    from broker.cli.planreport import print_json, print_text

    desired = _desired(paths, dict(resolve))
    until = datetime.now(UTC)
    reader = PlanReader(
        AdminClient(admin),
        since=until - min(since, until - _EPOCH),
        until=until,
        examples=examples,
    )
    plans = reader.plans(desired, broker)
    if output == "json":
        print_json(plans, since=reader.since, until=until)
    else:
        print_text(plans, everything=everything)


def _desired(paths: Sequence[Path], resolve: Mapping[str, str]) -> Desired:
    """Return what the files ask for; print what is wrong or doubtful about them."""
    from broker.manifest import load

    try:
        loaded = load(paths, resolve=resolve)
    except InvalidManifest as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(Exit.REFUSED) from None
    for warning in loaded.warnings:
        click.echo(str(warning), err=True)
    return loaded.desired
