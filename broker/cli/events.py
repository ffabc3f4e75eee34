"""``cemesh events``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from broker.cli.help import Command
from broker.cli.options import output_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Duration, Key

if TYPE_CHECKING:
    from broker.admin.models import StoryPage, StorySummary, TriggerOutcome

_OUTCOMES: Final = ("delivered", "waiting", "parked", "dead-lettered")
_MOST_SHOWN: Final = 3
"""Triggers of an event that a line names."""


@click.command(
    cls=Command,
    short_help="List events, and what has become of each.",
    epilog="""
    Examples:

      cemesh events
      cemesh events --trigger default/audit --outcome dead-lettered --since 1h
      cemesh events --type com.example.order.placed --output json | jq '.events[].id'

    Exit codes:

      0  printed, also where there are none
      1  there is no such broker, or no stories are kept
      2  wrong usage
      3  no mesh answers
    """,
)
@click.option("--broker", type=Key(), help="Only what came into this broker, or its triggers had.")
@click.option("--trigger", type=Key(), help="Only what this trigger had.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only what came to that.")
@click.option("--type", "type_", help="Only of this type.")
@click.option("--source", help="Only from this source.")
@click.option("--id", help="Only with this id.")
@click.option("--since", type=Duration(), help="Only what something became of since then: 15m, 1h.")
@click.option("--before", metavar="TIME", help="Only what was before; for the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@admin_place
@output_option
def events(
    *,
    broker: str | None,
    trigger: str | None,
    outcome: str | None,
    type_: str | None,
    source: str | None,
    id: str | None,
    since: timedelta | None,
    before: str | None,
    limit: int,
    admin: AdminPlace,
    output: str,
) -> None:
    """List events with what has become of them, those first that something became of last.

    `cemesh event ID` tells the whole story of one.
    """
    import msgspec

    from broker.cli.client import AdminClient

    client = AdminClient(admin)
    asked = {
        "broker": broker,
        "trigger": trigger,
        "outcome": outcome,
        "type": type_,
        "source": source,
        "id": id,
        "since": None if since is None else (datetime.now(UTC) - since).isoformat(),
        "limit": str(limit),
    }
    page = client.stories(**asked, before=before)
    while page.next is not None and not page.events:  # it was a long way back
        page = client.stories(**asked, before=page.next.isoformat())
    if output == "json":
        click.echo(msgspec.json.encode(page))
        return
    _print(page)


def _print(page: StoryPage) -> None:
    from broker.cli.printing import printable
    from broker.cli.tables import print_table

    if not page.events:
        click.echo("No events.")
        return
    print_table(
        ["LAST NEWS", "EVENT ID", "TYPE", "SOURCE", "OUTCOME"],
        [
            (each.at, *map(printable, (each.id, each.type, each.source)), _outcomes(each))
            for each in page.events
        ],
    )
    if page.next is not None:
        click.echo(f"There may be more: --before {page.next.isoformat()}", err=True)


def _outcomes(event: StorySummary) -> str:
    if not event.triggers:
        return "no trigger has had it yet"
    shown = [_outcome(each) for each in event.triggers[:_MOST_SHOWN]]
    more = len(event.triggers) - _MOST_SHOWN
    return ", ".join([*shown, f"and {more} more"] if more > 0 else shown)


def _outcome(trigger: TriggerOutcome) -> str:
    tried = f" ({trigger.attempts} attempts)" if trigger.attempts > 1 else ""
    return f"{trigger.name} {trigger.outcome or 'under way'}{tried}"
