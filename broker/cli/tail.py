"""``cemesh tail``."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import click

from broker.cli.help import Command
from broker.cli.options import DEFAULT_BROKER, output_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Key


@click.command(
    cls=Command,
    short_help="Print the events of a broker as they come.",
    epilog="""
    Examples:

      cemesh tail
      cemesh tail default/default --count 1 --output json | jq .data

    Exit codes:

      0  the mesh stopped, or --count events came
      1  there is no such broker
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("broker", type=Key(), default=DEFAULT_BROKER)
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@admin_place
@output_option
def tail(*, broker: str, count: int | None, admin: AdminPlace, output: str) -> None:
    """Print the events that BROKER (NAMESPACE/NAME, default/default) stores from now on.

    With --output json, one structured CloudEvent a line.
    """
    from broker.cli.client import AdminClient
    from broker.cli.printing import event_text
    from broker.codecs.json import decode_event

    with AdminClient(admin).tail(broker) as lines:
        click.echo(f"Following {broker}; Ctrl-C ends it.", err=True)
        for line in islice(lines, count):
            if output == "json":
                click.echo(line, nl=False)
            else:
                event = decode_event(line)
                click.echo(event_text(event, at=datetime.now().astimezone(), place=""))
