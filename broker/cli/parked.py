"""``cemesh parked``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from broker.cli.help import Command, Group
from broker.cli.options import Decorated, output_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Key

if TYPE_CHECKING:
    from broker.admin.models import ParkedList, ParkedRequest
    from broker.cli.client import AdminClient

_EXIT_CODES: Final = """
    Exit codes:

      0  it is done within seconds
      1  no such event is parked there, or no such trigger
      2  wrong usage
      3  no mesh answers
"""


@click.group(
    cls=Group,
    short_help="List, retry and skip what ordered triggers have parked.",
    epilog="""
    Examples:

      cemesh parked list default/audit
      cemesh parked retry default/audit 4711
      cemesh parked skip default/audit 4711 --why "a test order"
    """,
)
def parked() -> None:
    """List, retry and skip the events that ordered triggers gave up and hold in their places.

    What comes behind one of its partition key waits until it is retried and delivered, or skipped.
    Where dispatchers run apart, each tells, and takes orders for, what it holds itself.
    """


@parked.command(
    "list",
    cls=Command,
    short_help="List a trigger's parked events.",
    epilog="""
    Examples:

      cemesh parked list default/audit
      cemesh parked list default/audit --output json | jq -r '.parked[].id'

    Exit codes:

      0  printed, also where there are none
      1  there is no such trigger, or it does not run there
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("trigger", type=Key())
@admin_place
@output_option
def list_(*, trigger: str, admin: AdminPlace, output: str) -> None:
    """List what TRIGGER has parked, that which waits longest first."""
    import msgspec

    from broker.cli.tables import age, print_table

    found = _client(admin).parked(trigger)
    if output == "json":
        click.echo(msgspec.json.encode(found))
        return
    if not found.parked:
        click.echo("Nothing is parked.")
        return
    print_table(
        ["EVENT ID", "SOURCE", "KEY", "PARKED FOR", "ATTEMPTS", "REASON"],
        [
            (
                each.id,
                each.source,
                each.key,
                age(each.since),
                each.why.attempts,
                each.why.reason,
            )
            for each in found.parked
        ],
    )


def _which(command: Decorated) -> Decorated:
    for option in (
        click.option(
            "--why", default="an operator asked", show_default=True, help="For the record."
        ),
        click.option("--all", "everything", is_flag=True, help="All that the trigger has parked."),
        click.option("--source", help="The event's source, where others have its id, too."),
        click.argument("id", required=False),
        click.argument("trigger", type=Key()),
    ):
        command = option(command)
    return command


@parked.command(
    cls=Command,
    short_help="Give parked events a fresh set of attempts.",
    epilog=f"""
    Examples:

      cemesh parked retry default/audit 4711
      cemesh parked retry default/audit --all --why "the schema is repaired"
{_EXIT_CODES}""",
)
@_which
@admin_place
@output_option
def retry(
    *,
    trigger: str,
    id: str | None,
    source: str | None,
    everything: bool,
    why: str,
    admin: AdminPlace,
    output: str,
) -> None:
    """Let TRIGGER attempt the parked event ID again, at once and as often as any other.

    Its key goes on when it is delivered. If it is given up again, it is parked again.
    """
    wanted = _wanted(id, source, everything=everything, why=why)
    found = _client(admin).order(trigger, "retry", wanted)
    _print(found, "retried", output)


@parked.command(
    cls=Command,
    short_help="Give parked events up, and let what is behind them go on.",
    epilog=f"""
    Examples:

      cemesh parked skip default/audit 4711 --why "a test order"
      cemesh parked skip default/audit 4711 --source /shop
{_EXIT_CODES}""",
)
@_which
@admin_place
@output_option
def skip(
    *,
    trigger: str,
    id: str | None,
    source: str | None,
    everything: bool,
    why: str,
    admin: AdminPlace,
    output: str,
) -> None:
    """Let TRIGGER give up the parked event ID, and go on with its key.

    It goes the way of any dead letter: to the dead-letter sink, or into the broker's own store.
    """
    wanted = _wanted(id, source, everything=everything, why=why)
    found = _client(admin).order(trigger, "skip", wanted)
    _print(found, "skipped", output)


def _wanted(id: str | None, source: str | None, *, everything: bool, why: str) -> ParkedRequest:
    if (id is None) is not everything or (everything and source is not None):
        raise click.UsageError("name an ID, with its --source or not, or use --all alone")

    from broker.admin.models import ParkedRequest

    return ParkedRequest(id=id, source=source, all=everything, why=why)


def _client(admin: AdminPlace) -> AdminClient:
    from broker.cli.client import AdminClient

    return AdminClient(admin)


def _print(found: ParkedList, done: str, output: str) -> None:
    import msgspec

    if output == "json":
        click.echo(msgspec.json.encode(found))
        return
    if not found.parked:
        click.echo("Nothing is parked.")
    for each in found.parked:
        click.echo(f"{each.id} of {each.source} is {done} within seconds")
