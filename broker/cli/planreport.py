"""Tells what a change of the manifests would do to each trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import click
import msgspec

from broker.admin.models import ClauseDocument
from broker.cli.planning import BrokerPlan, Example, TriggerPlan
from broker.cli.printing import printable
from broker.cli.tables import print_table
from broker.event import Value

_CLAUSES: Final = 3
"""Clauses that are printed of those that would keep an example out."""

# --- for people ----------------------------------------------------------------------------


def print_text(plans: Sequence[BrokerPlan], *, everything: bool) -> None:
    """Print a table for every broker with the triggers that change, or all, and examples."""
    for plan in plans:
        click.echo(_heading(plan))
        shown = [each for each in plan.triggers if everything or each.change != "none"]
        if shown:
            _print_triggers(shown, compared=plan.events is not None)
        hidden = len(plan.triggers) - len(shown)
        if hidden:
            others = " other" if shown else ""
            click.echo(f"  {_count(hidden, f'{others} trigger'.strip())} as before")
        if not plan.triggers:
            click.echo("  no triggers")
        for each in plan.triggers:
            _print_examples(each)
        click.echo()
    click.echo(_summary([each for plan in plans for each in plan.triggers]))


def _heading(plan: BrokerPlan) -> str:
    parts = [click.style(plan.name, bold=True)]
    if plan.events is None:
        parts.append("does not run yet: there are no events to compare with")
    elif plan.since is None:
        parts.append("no events: none is kept any more")
    else:
        reach = "" if plan.complete else ", the oldest that is kept"
        parts.append(f"{_count(plan.events, 'event')} since {_local(plan.since)}{reach}")
    if plan.redrives:
        parts.append(f"{_count(plan.redrives, 'redrive')} left out")
    if not plan.proposed:
        parts.append(click.style("is not in the proposed manifests: it would stop", fg="red"))
    return "  ".join(parts)


def _print_triggers(triggers: Sequence[TriggerPlan], *, compared: bool) -> None:
    if not compared:
        print_table(
            ["TRIGGER", "CHANGE"], [(each.name, _change(each)) for each in triggers], indent=2
        )
        return
    print_table(
        ["TRIGGER", "NOW", "PROPOSED", "MORE", "FEWER", "CHANGE"],
        [
            (each.name, each.now, each.proposed, each.more, each.fewer, _change(each))
            for each in triggers
        ],
        indent=2,
    )


def _change(trigger: TriggerPlan) -> str:
    match trigger.change:
        case "none":
            return ""
        case "arrives":
            return f"moves from {trigger.elsewhere}"
        case "leaves":
            return f"moves to {trigger.elsewhere}"
        case change:
            return change


def _print_examples(trigger: TriggerPlan) -> None:
    for examples, number, more_or_fewer, color in (
        (trigger.gained, trigger.more, "more", "green"),
        (trigger.lost, trigger.fewer, "fewer", "red"),
    ):
        if not examples:
            continue
        such_as = ", such as" if number > len(examples) else ""
        heading = click.style(f"{_count(number, 'event')} {more_or_fewer}", fg=color)
        click.echo(f"\n  {trigger.name}: {heading}{such_as}")
        for each in examples:
            _print_example(each)


def _print_example(example: Example) -> None:
    event = example.stored.event
    parts = (
        _local(example.stored.at),
        printable(event.type),
        f"source={printable(event.source)}",
        f"id={printable(event.id)}",
    )
    click.echo(f"    {'  '.join(parts)}")
    for each in example.clauses[:_CLAUSES]:
        click.echo(f"      {printable(str(each))}")
    if len(example.clauses) > _CLAUSES:
        click.echo(f"      and {_count(len(example.clauses) - _CLAUSES, 'clause')} more")


def _summary(triggers: Sequence[TriggerPlan]) -> str:
    changed = {each.name for each in triggers if each.change != "none"}
    if not changed:
        return "Nothing changes."
    known = {each.name for each in triggers}
    more, fewer = (sum(each.more for each in triggers), sum(each.fewer for each in triggers))
    return (
        f"{len(changed):,} of {_count(len(known), 'trigger')} "
        f"{'changes' if len(changed) == 1 else 'change'}: "
        f"{more:,} {'delivery' if more == 1 else 'deliveries'} more, {fewer:,} fewer"
    )


def _local(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


# --- for scripts ---------------------------------------------------------------------------


class _ExampleDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``clauses`` are those that would keep the event out."""

    at: datetime
    event: Mapping[str, Value]
    clauses: Sequence[ClauseDocument]

    @classmethod
    def of(cls, example: Example) -> _ExampleDocument:
        return cls(
            at=example.stored.at,
            event=example.stored.event.typed,
            clauses=[ClauseDocument.of(each) for each in example.clauses],
        )


class _TriggerDocument(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    change: str
    elsewhere: str | None
    now: int
    proposed: int
    more: int
    fewer: int
    gained: Sequence[_ExampleDocument]
    lost: Sequence[_ExampleDocument]

    @classmethod
    def of(cls, trigger: TriggerPlan) -> _TriggerDocument:
        return cls(
            name=trigger.name,
            change=trigger.change,
            elsewhere=trigger.elsewhere,
            now=trigger.now,
            proposed=trigger.proposed,
            more=trigger.more,
            fewer=trigger.fewer,
            gained=[_ExampleDocument.of(each) for each in trigger.gained],
            lost=[_ExampleDocument.of(each) for each in trigger.lost],
        )


class _BrokerDocument(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    runs: bool
    proposed: bool
    since: datetime | None
    complete: bool
    events: int | None
    redrives: int
    triggers: Sequence[_TriggerDocument]

    @classmethod
    def of(cls, plan: BrokerPlan) -> _BrokerDocument:
        return cls(
            name=plan.name,
            runs=plan.runs,
            proposed=plan.proposed,
            since=plan.since,
            complete=plan.complete,
            events=plan.events,
            redrives=plan.redrives,
            triggers=[_TriggerDocument.of(each) for each in plan.triggers],
        )


class _PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    since: datetime
    until: datetime
    brokers: Sequence[_BrokerDocument]


def print_json(plans: Sequence[BrokerPlan], *, since: datetime, until: datetime) -> None:
    """Print everything as one document."""
    found = _PlanDocument(
        since=since, until=until, brokers=[_BrokerDocument.of(each) for each in plans]
    )
    click.echo(msgspec.json.encode(found))
