"""``cemesh pause`` and ``cemesh resume``."""

from __future__ import annotations

import click

from broker.cli.help import Command
from broker.cli.options import output_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Key


@click.command(
    cls=Command,
    short_help="Let a trigger's events wait.",
    epilog="""
    Examples:

      cemesh pause default/audit
      cemesh pause default/audit --why "the ledger is being migrated"

    Exit codes:

      0  paused, also where it was before
      1  there is no such trigger
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("trigger", type=Key())
@click.option(
    "--why", default="an operator asked", show_default=True, help="What `cemesh status` shows."
)
@admin_place
@output_option
def pause(*, trigger: str, why: str, admin: AdminPlace, output: str) -> None:
    """Let the events of TRIGGER wait in its broker's channel until it is resumed.

    Attempts that are under way are finished. That it is paused outlives restarts, and holds in all
    processes of the mesh, within seconds.
    """
    import msgspec

    from broker.cli.client import AdminClient

    found = AdminClient(admin).pause(trigger, why)
    if output == "json":
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(f"{trigger} is paused: {found.why}")


@click.command(
    cls=Command,
    short_help="Let a paused trigger go on.",
    epilog="""
    Examples:

      cemesh resume default/audit

    Exit codes:

      0  resumed, also where it was not paused
      1  there is no such trigger
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("trigger", type=Key())
@admin_place
@output_option
def resume(*, trigger: str, admin: AdminPlace, output: str) -> None:
    """Let TRIGGER go on, whatever it was paused for: an operator, a 410, a row of failures.

    What has gathered meanwhile is delivered now.
    """
    import msgspec

    from broker.cli.client import AdminClient

    found = AdminClient(admin).resume(trigger)
    if output == "json":
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(f"{trigger} goes on")
