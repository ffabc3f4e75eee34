"""``cemesh status``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from broker.cli.help import Command
from broker.cli.options import output_option
from broker.cli.place import AdminPlace, admin_place
from broker.settings import Part

if TYPE_CHECKING:
    from broker.admin.models import (
        BrokerDocument,
        ManifestProblem,
        StatusDocument,
        TriggerDocument,
        WorkerDocument,
    )

_RUNS: Final = {
    Part.INGRESS: "ingress",
    Part.DISPATCHER: "triggers",
    Part.SOURCES: "sources",
}
"""What each part runs."""


@click.command(
    cls=Command,
    short_help="Show brokers, triggers and sources.",
    epilog="""
    Examples:

      cemesh status
      cemesh status --output json

    Exit codes:

      0  printed
      2  wrong usage
      3  no mesh answers
    """,
)
@admin_place
@output_option
def status(*, admin: AdminPlace, output: str) -> None:
    """Show every broker, trigger and source: what was delivered, what waits, what is dead.

    The column UNACCOUNTED appears only where the books do not balance, PARKED where events wait for
    an operator, and below the table what a trigger does that is not just running. A part of a mesh
    that runs apart tells of itself alone: of what triggers do, ask the admin port of a dispatcher.
    """
    import msgspec

    from broker.cli.client import AdminClient

    found = AdminClient(admin).status()
    if output == "json":
        click.echo(msgspec.json.encode(found))
    else:
        _print(found)


def _print(found: StatusDocument) -> None:
    from broker.cli.tables import print_table

    elsewhere = [name for part, name in _RUNS.items() if part.value not in found.parts]
    if elsewhere:
        here = ", ".join(found.parts)
        click.echo(f"cemesh {here}: {' and '.join(elsewhere)} run in other processes\n")
    if found.workers:
        click.echo(f"{_told_of_workers(found.workers)}\n")
    if not found.brokers:
        click.echo("No brokers.")
    for broker in found.brokers:
        click.echo(f"{_heading(broker)}")
        if broker.triggers:
            _print_triggers(broker.triggers)
        elif Part.DISPATCHER.value in found.parts:
            click.echo("  no triggers")
    if found.sources:
        click.echo()
        print_table(
            ["SOURCE", "BROKER", "STATE", "EMITTED", "REJECTED", "LAG", "ERROR"],
            [
                (
                    f"{each.kind} {each.name}",
                    each.broker,
                    each.state,
                    each.emitted,
                    each.rejected,
                    each.lag,
                    each.error,
                )
                for each in found.sources
            ],
        )
    # In files, a change is taken up whole or not at all; in a cluster, each object is for itself.
    left_out = [each for each in found.problems if each.file is None and each.subject]
    _print_problems("Not all is as it should be:", left_out)
    of_files = [each for each in found.problems if each not in left_out]
    _print_problems("The last change of the manifests was refused:", of_files)


def _print_problems(heading: str, problems: Sequence[ManifestProblem]) -> None:
    if not problems:
        return
    click.echo()
    click.secho(heading, fg="red")
    for problem in problems:
        place = f"{problem.file or ''}{f':{problem.line}' if problem.line else ''}"
        parts = (place, problem.subject, problem.path, problem.message)
        click.echo("  " + ": ".join(part for part in parts if part))


def _told_of_workers(workers: Sequence[WorkerDocument]) -> str:
    starting = [str(each.number) for each in workers if each.state != "running"]
    running = f"{len(workers) - len(starting)} of {len(workers)} processes run"
    if not starting:
        return running
    return click.style(f"{running}, starting: {', '.join(starting)}", fg="yellow")


def _heading(broker: BrokerDocument) -> str:
    head = f"{click.style(broker.name, bold=True)}  {broker.channel}  {broker.accepted:,} accepted"
    if broker.unavailable is None:
        return head
    return f"{head}  {click.style(f'takes no events: {broker.unavailable}', fg='red')}"


def _print_triggers(triggers: Sequence[TriggerDocument]) -> None:
    from broker.cli.tables import age, print_table

    head = ["TRIGGER", "DELIVERED", "WAITING", "DEAD", "OLDEST WAITING", "IN FLIGHT"]
    rows: list[list[object]] = [
        [
            each.name,
            each.delivered,
            each.waiting,
            each.dead_lettered,
            age(each.oldest_waiting),
            each.in_flight,
        ]
        for each in triggers
    ]
    if any(each.parked for each in triggers):
        head.append("PARKED")
        for row, each in zip(rows, triggers, strict=True):
            row.append(each.parked)
    if any(each.unaccounted for each in triggers):
        head.append("UNACCOUNTED")
        for row, each in zip(rows, triggers, strict=True):
            row.append(each.unaccounted)
    head.append("SUBSCRIBER")
    for row, each in zip(rows, triggers, strict=True):
        row.append(each.subscriber)
    print_table(head, rows, indent=2)
    for each in triggers:
        if each.state != "running":
            click.echo(f"  {each.name} is {click.style(each.state, fg='yellow')}{_reason(each)}")


def _reason(trigger: TriggerDocument) -> str:
    until = "" if trigger.until is None else f" until {trigger.until.astimezone():%H:%M:%S}"
    return until if trigger.why is None else f"{until}: {trigger.why}"
