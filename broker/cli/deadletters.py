"""``cemesh deadletters``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from broker.cli.exits import Exit
from broker.cli.help import Command, Group
from broker.cli.options import DEFAULT_BROKER, Decorated, output_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Key


def _broker_option(command: Decorated) -> Decorated:
    return click.option(
        "--broker",
        type=Key(),
        default=DEFAULT_BROKER,
        show_default=True,
        help="The broker whose dead letters are meant.",
    )(command)


@click.group(
    cls=Group,
    short_help="List, inspect and redrive dead letters.",
    epilog="""
    Examples:

      cemesh deadletters list
      cemesh deadletters show 0000000000000001
      cemesh deadletters redrive --trigger default/audit
    """,
)
def deadletters() -> None:
    """List, inspect and redrive the events that a broker's triggers gave up.

    This is the broker's own store: what went to a dead-letter sink is not in it.
    """


@deadletters.command(
    "list",
    cls=Command,
    short_help="List dead letters.",
    epilog="""
    Examples:

      cemesh deadletters list --broker default/default --trigger default/audit
      cemesh deadletters list --output json | jq -r '.deadLetters[].id'

    Exit codes:

      0  printed, also where there are none
      1  there is no such broker
      2  wrong usage
      3  no mesh answers
    """,
)
@_broker_option
@click.option("--trigger", type=Key(), help="Only those of this trigger.")
@click.option("--after", metavar="ID", help="Only those after this one; for the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@admin_place
@output_option
def list_(
    *,
    broker: str,
    trigger: str | None,
    after: str | None,
    limit: int,
    admin: AdminPlace,
    output: str,
) -> None:
    """List dead letters, oldest first."""
    import msgspec

    from broker.cli.client import AdminClient
    from broker.cli.tables import print_table

    client = AdminClient(admin)
    page = client.dead_letters(broker, trigger=trigger, after=after, limit=limit)
    if output == "json":
        click.echo(msgspec.json.encode(page))
        return
    if not page.dead_letters:
        click.echo("No dead letters.")
        return
    print_table(
        ["ID", "TRIGGER", "BURIED", "EVENT TYPE", "EVENT ID", "ATTEMPTS", "REASON"],
        [
            (
                each.id,
                each.trigger or "-",
                each.buried_at,
                each.event.type,
                each.event.id,
                each.why.attempts,
                each.why.reason,
            )
            for each in page.dead_letters
        ],
    )
    if page.next is not None:
        click.echo(f"There may be more: --after {page.next}", err=True)


@deadletters.command(
    cls=Command,
    short_help="Show one dead letter.",
    epilog="""
    Examples:

      cemesh deadletters show 0000000000000001
      cemesh deadletters show 0000000000000001 --output json | jq .event

    Exit codes:

      0  printed
      1  there is no such dead letter, or no such broker
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("id")
@_broker_option
@admin_place
@output_option
def show(*, id: str, broker: str, admin: AdminPlace, output: str) -> None:
    """Show one dead letter: the event, who refused it, why, and with what answer."""
    import msgspec

    from broker.cli.client import AdminClient
    from broker.cli.printing import printable

    letter = AdminClient(admin).dead_letter(broker, id)
    if output == "json":
        click.echo(msgspec.json.encode(letter))
        return
    why = letter.why
    click.echo(f"dead letter  {letter.id}")
    click.echo(f"trigger      {letter.trigger or '-'}")
    click.echo(f"buried       {letter.buried_at.isoformat()}")
    click.echo(f"destination  {why.destination}")
    click.echo(f"reason       {why.reason}")
    click.echo(f"status       {'no answer' if why.status is None else why.status}")
    click.echo(f"attempts     {why.attempts}")
    if why.body:
        answer = f"{why.body} (base64)" if why.body_text is None else printable(why.body_text)
        click.echo(f"answer       {answer}")
    click.echo("event")
    click.echo(printable(msgspec.json.format(bytes(letter.event), indent=2).decode()))


@deadletters.command(
    cls=Command,
    short_help="Hand dead letters back to their triggers.",
    epilog="""
    Examples:

      cemesh deadletters redrive 0000000000000001 0000000000000002
      cemesh deadletters redrive --trigger default/audit
      cemesh deadletters redrive --all --broker default/default

    Exit codes:

      0  every one of them was redriven
      1  some were kept, each for the reason that is printed; or no such broker
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("ids", nargs=-1)
@click.option("--trigger", type=Key(), help="All dead letters of this trigger.")
@click.option("--all", "everything", is_flag=True, help="All dead letters of the broker.")
@_broker_option
@admin_place
@output_option
@click.pass_context
def redrive(
    ctx: click.Context,
    *,
    ids: Sequence[str],
    trigger: str | None,
    everything: bool,
    broker: str,
    admin: AdminPlace,
    output: str,
) -> None:
    """Hand dead letters back to the triggers that gave them up, for a fresh start.

    Name them by IDS, by --trigger or with --all.
    """
    if sum((bool(ids), trigger is not None, everything)) != 1:
        raise click.UsageError("name exactly one of IDS, --trigger and --all")

    import msgspec

    from broker.admin.models import RedriveRequest
    from broker.cli.client import AdminClient

    wanted = RedriveRequest(ids=ids or None, trigger=trigger, all=everything or None)
    result = AdminClient(admin).redrive(broker, wanted)
    if output == "json":
        click.echo(msgspec.json.encode(result))
    else:
        click.echo(f"{len(result.redriven)} redriven, {len(result.kept)} kept")
        for letter, reason in result.kept.items():
            click.echo(f"{letter}: {reason}", err=True)
    ctx.exit(Exit.REFUSED if result.kept else Exit.OK)
