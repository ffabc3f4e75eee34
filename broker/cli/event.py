"""``cemesh event``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import click

from broker.cli.exits import RefusedError
from broker.cli.help import Command
from broker.cli.options import output_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Address

if TYPE_CHECKING:
    from broker.admin.models import (
        AcceptedDocument,
        AttemptDocument,
        DecisionDocument,
        EventName,
        StoriesDocument,
        StoryDocument,
        TriggerStoryDocument,
    )
    from broker.ports.stories import Became

_COLOURS: Final = {
    "delivered": "green",
    "waiting": "yellow",
    "parked": "yellow",
    "dead-lettered": "red",
}
_BODY: Final = 200
"""Characters of an answer that are shown; the rest is in the JSON."""

_BECAME: Final[Mapping[Became, str]] = {
    "waits": "waits",
    "parked": "parked, and holds its key up",
    "retried": "an operator had it tried again",
    "dead-lettered": "given up, and taken by the dead-letter sink",
    "buried": "given up, and kept as a dead letter of the broker",
}

_TOLD: Final = frozenset({"retry-after", "content-type", "location"})
"""Headers of answers that are shown; the others are in the JSON."""


@click.command(
    cls=Command,
    short_help="Tell the story of an event: who has it, who has not, and why.",
    epilog="""
    Examples:

      cemesh event 1042
      cemesh event 1042 --source /shop/berlin
      cemesh event 1042 --admin-port 8081 --also localhost:8082 --also localhost:8083
      cemesh event 1042 --output json | jq '.stories[0].triggers[].steps'

    Exit codes:

      0  told
      1  nothing is noted of such an event, or no stories are kept
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("id")
@click.option("--source", help="The source, where several have sent that id.")
@click.option(
    "--also",
    type=Address(),
    multiple=True,
    envvar="CEMESH_ADMIN_ALSO",
    show_envvar=True,
    help="Ask this admin port as well: parts of a mesh that run apart know a part of the story "
    "each. Repeatable; where a name has several addresses, all of them are asked.",
)
@admin_place
@output_option
def event(
    *,
    id: str,
    source: str | None,
    also: tuple[tuple[str, int], ...],
    admin: AdminPlace,
    output: str,
) -> None:
    """Tell what became of the event with this ID.

    When it was accepted and by whom; which triggers have had it, with every attempt and its answer;
    what it waits for, and until when; which triggers do not match, and why; replies, and what
    they are to.
    """
    import msgspec

    others = [replace(admin, host=host, port=port) for host, port in also]
    told = _told(id, source, [admin, *others])
    if output == "json":
        click.echo(msgspec.json.encode(told))
        return
    for number, story in enumerate(told.stories):
        if number:
            click.echo()
        for line in _lines(story):
            click.echo(line)


def _told(id: str, source: str | None, places: Sequence[AdminPlace]) -> StoriesDocument:
    """Return what all these know together. Raises as the first does, where none knows anything."""
    from broker.cli.client import AdminClient, addresses
    from broker.cli.storymerging import merged

    told: list[StoriesDocument] = []
    refused: list[RefusedError] = []
    for place in places:
        for address in addresses(place.host, place.port) if len(places) > 1 else [None]:
            try:
                told.append(AdminClient(place, address).story(id, source))
            except RefusedError as error:
                refused.append(error)
    if not told:
        raise refused[0]
    return merged(told)


def _lines(story: StoryDocument) -> Iterator[str]:
    yield from _head(story)
    yield from (_accepted(each) for each in story.accepted)
    if not story.accepted:
        yield "It came in by another process, or no sample was taken of it."
    if story.reply_to is not None:
        yield f"a reply to {_named(story.reply_to)}"
    for each in story.triggers:
        yield ""
        yield from _trigger(each)
    if story.replies:
        yield ""
        yield from (f"reply  {_named(each)}" for each in story.replies)


def _head(story: StoryDocument) -> Iterator[str]:
    from broker.cli.printing import attributes_text, printable
    from broker.event import Event

    if story.event is None:
        yield click.style(f"id={printable(story.id)}  source={printable(story.source)}", bold=True)
        yield click.style(f"    its attributes are gone: {story.event_missing}", dim=True)
    else:
        yield attributes_text(Event.of_typed(story.event, None))


def _accepted(accepted: AcceptedDocument) -> str:
    from broker.cli.printing import printable

    who = printable(accepted.origin.who)
    how = {
        "request": f"sent by {who}",
        "source": f"from {who}",
        "reply": f"a reply of what {who} delivers to",
        "redrive": f"redriven to {who}",
        "announcement": "told by the mesh itself",
    }[accepted.origin.kind]
    return f"{_time(accepted.at)}  accepted by {accepted.broker}, {how}"


def _named(name: EventName) -> str:
    from broker.cli.printing import printable

    return f"id={printable(name.id)} source={printable(name.source)}"


def _trigger(trigger: TriggerStoryDocument) -> Iterator[str]:
    from broker.cli.printing import printable

    name = click.style(trigger.name, bold=True)
    if trigger.matches is False and not trigger.steps:
        yield f"{name}  {click.style('does not match', dim=True)}"
        yield from (f"    {printable(clause.text)}" for clause in trigger.clauses)
        return
    yield f"{name}  {_outcome(trigger)}"
    if trigger.outcome != "delivered" and trigger.state not in (None, "running"):
        why = f": {printable(trigger.why)}" if trigger.why else ""
        yield f"    the trigger is {trigger.state}{why}"
    if trigger.matches is False:
        yield "    by its filter as it is now, it would not match"
    for step in trigger.steps:
        yield from _step(step)


def _outcome(trigger: TriggerStoryDocument) -> str:
    if trigger.outcome is None:
        return click.style("no attempt has ended yet, or none was noted", dim=True)
    parts = [click.style(trigger.outcome, fg=_COLOURS[trigger.outcome])]
    if trigger.attempts:
        parts.append(f"after {trigger.attempts} attempt{'' if trigger.attempts == 1 else 's'}")
    if trigger.until is not None and trigger.outcome == "waiting":
        parts.append(f"next one at {_time(trigger.until)}")
    return ", ".join(parts)


def _step(step: AttemptDocument | DecisionDocument) -> Iterator[str]:
    from broker.admin.models import AttemptDocument

    if isinstance(step, AttemptDocument):
        yield from _attempt(step)
    else:
        yield _decision(step)


def _attempt(step: AttemptDocument) -> Iterator[str]:
    from broker.cli.printing import printable

    to = "" if step.to == "subscriber" else " at the dead-letter sink"
    number = "not sent" if step.untried else f"attempt {step.number}{to}"
    took = f"{step.seconds * 1000:,.0f} ms"
    yield f"    {_time(step.at)}  {number}  {printable(step.destination)}  {_answer(step)}  {took}"
    for name, value in step.headers:
        if name in _TOLD and step.verdict != "delivered":
            yield click.style(f"        {printable(name)}: {printable(value)}", dim=True)
    if step.body and step.verdict != "delivered":
        text = f"{step.body} (base64)" if step.body_text is None else printable(step.body_text)
        shown = " ".join(text.split())
        more = " …" if len(shown) > _BODY else ""
        yield click.style(f"        {shown[:_BODY]}{more}", dim=True)
    if step.reply is not None:
        yield f"        replied with {_named(step.reply)}"


def _answer(step: AttemptDocument) -> str:
    from broker.cli.printing import printable

    if step.verdict != "delivered":
        return click.style(printable(step.reason or "refused"), fg="red")
    if step.status is None:
        return click.style("taken", fg="green")
    return click.style(f"{step.status} {_phrase(step.status)}".rstrip(), fg="green")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _decision(step: DecisionDocument) -> str:
    from broker.cli.printing import printable

    until = "" if step.until is None else f" until {_time(step.until)}"
    why = f": {printable(step.reason)}" if step.reason else ""
    return f"    {_time(step.at)}  {_BECAME[step.became]}{until}{why}"


def _time(at: datetime) -> str:
    local = at.astimezone()
    text = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
    is_today = local.date() == datetime.now().astimezone().date()
    return text if is_today else f"{local:%Y-%m-%d} {text}"
