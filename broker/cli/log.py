"""``cemesh log``."""

from __future__ import annotations

import click

from broker.cli.help import Command
from broker.cli.options import output_option
from broker.cli.place import AdminPlace, admin_place


@click.command(
    cls=Command,
    short_help="Show or change from which level on a mesh logs.",
    epilog="""
    Examples:

      cemesh log
      cemesh log debug

    Exit codes:

      0  shown, or changed
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("level", required=False, type=click.Choice(["debug", "info", "warning", "error"]))
@admin_place
@output_option
def log(*, level: str | None, admin: AdminPlace, output: str) -> None:
    """Print from which level on a running mesh logs; with LEVEL, change that.

    All processes of `cemesh run --workers` change it at once, the parts of a mesh that run apart
    each by its own admin port. The next start is at --log-level again. At debug, each stage of each
    event is a line: that takes disk and time.
    """
    import msgspec

    from broker.cli.client import AdminClient

    mesh = AdminClient(admin)
    found = mesh.log_level() if level is None else mesh.set_log_level(level)
    if output == "json":
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(found.level)
