"""``cemesh explain``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from broker.cli.exits import RefusedError
from broker.cli.explaindelivery import explain_delivery
from broker.cli.help import Command
from broker.cli.options import DEFAULT_BROKER, output_option, resolve_option
from broker.cli.place import AdminPlace, admin_place
from broker.cli.values import Key
from broker.errors import did_you_mean

if TYPE_CHECKING:
    from broker.admin.models import ExplanationDocument
    from broker.event import Event
    from broker.trigger import Desired


@click.command(
    cls=Command,
    short_help="Say which triggers an event matches, and why not the others.",
    epilog="""
    Examples:

      cemesh explain order.json
      cemesh explain -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /shop/berlin' \\
          -H 'ce-type: com.example.order.placed' --manifests mesh.yaml
      cemesh explain --id 1042 --source /shop/berlin
      cemesh explain --id 1042 --manifests proposed/
      cemesh tail --count 1 --output json | cemesh explain -
      cemesh explain --delivery default/audit

    Exit codes:

      0  explained, whether or not a trigger matches
      1  not a valid event, or none that is stored; no such broker or trigger; the manifests have
         problems
      2  wrong usage
      3  no mesh answers
    """,
)
@click.argument("event", type=click.File("rb"), required=False)
@click.option(
    "-H",
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    multiple=True,
    help="A header of the request that carries the event, as in curl. Repeatable.",
)
@click.option(
    "-d",
    "--data",
    multiple=True,
    help="The body of that request, as in curl; @FILE reads a file, @- standard input.",
)
@click.option("--id", help="The id of an event that the running mesh has stored.")
@click.option("--source", help="With --id: the source, where several have sent that id.")
@click.option(
    "--delivery",
    type=Key(),
    metavar="TRIGGER",
    help="Say how this trigger's events are delivered, and how long they wait before each retry.",
)
@click.option(
    "-m",
    "--manifests",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Take the triggers of this file or folder, not those of the running mesh. Repeatable.",
)
@click.option(
    "--broker",
    type=Key(),
    help=f"The broker whose triggers are meant. Default: {DEFAULT_BROKER}, or the only one of "
    "the manifests.",
)
@resolve_option
@admin_place
@output_option
def explain(
    *,
    event: IO[bytes] | None,
    headers: tuple[str, ...],
    data: tuple[str, ...],
    id: str | None,
    source: str | None,
    delivery: str | None,
    paths: tuple[Path, ...],
    broker: str | None,
    resolve: tuple[tuple[str, str], ...],
    admin: AdminPlace,
    output: str,
) -> None:
    """Say for every trigger of a broker whether an event matches it, and where it does not, why.

    Or, with --delivery, how a trigger delivers.

    EVENT is a file with an event in the JSON format, - for standard input. Instead, --header
    and --data give it as curl would send it to the broker, or --id names a stored one. Nothing
    is stored or sent.
    """
    given_ways = (event is not None, bool(headers or data), id is not None, delivery is not None)
    if sum(given_ways) != 1:
        raise click.UsageError(
            "give the event in one way: EVENT, --header and --data, or --id; or a --delivery"
        )
    if source is not None and id is None:
        raise click.UsageError("--source goes with --id")

    import msgspec

    from broker.cli.client import AdminClient
    from broker.codecs.json import decode_event

    mesh = AdminClient(admin)
    files = _files(paths, resolve) if paths else None
    if delivery is not None:
        explain_delivery(delivery, files, mesh, output)
        return
    key = _broker(files, broker)
    if id is None:
        given = _given(event, headers, data)
        explained = mesh.explain(key, given) if files is None else _explained(files, key, given)
    else:
        explained = mesh.explain_stored(key, id, source)
        if files is not None:
            stored = decode_event(bytes(explained.event))
            explained = _explained(files, key, stored, at=explained.at, to=explained.to)
    if output == "json":
        click.echo(msgspec.json.encode(explained))
    else:
        _print(explained)


def _files(paths: Sequence[Path], resolve: Sequence[tuple[str, str]]) -> Desired:
    from broker.manifest import load

    return load(paths, resolve=dict(resolve)).desired


def _broker(files: Desired | None, named: str | None) -> str:
    """Return the key of the broker that is meant."""
    if files is None:
        return named or DEFAULT_BROKER
    keys = list(files.brokers)
    match keys:
        case []:
            raise RefusedError("there is no broker in the manifests")
        case _ if named in keys:
            return named
        case _ if named is not None:
            hint = did_you_mean(named, keys)
            raise RefusedError(f"there is no broker {named} in the manifests{hint}")
        case [only]:
            return only
        case _ if DEFAULT_BROKER in keys:
            return DEFAULT_BROKER
        case _:
            raise click.UsageError(f"name one of the brokers with --broker: {', '.join(keys)}")


def _given(file: IO[bytes] | None, headers: Sequence[str], data: Sequence[str]) -> Event:
    """Return the event as the data port would read it; raises `InvalidEvent` as it would."""
    from broker.admin.explaining import only_event
    from broker.cli.curl import request
    from broker.codecs.json import EVENT_TYPE

    if file is None:
        return only_event(*request(headers, data))
    return only_event([(b"content-type", EVENT_TYPE.encode())], file.read())


def _explained(
    files: Desired,
    broker: str,
    event: Event,
    *,
    at: datetime | None = None,
    to: str | None = None,
) -> ExplanationDocument:
    from broker.admin.models import ExplanationDocument

    triggers = [each for each in files.triggers.values() if each.broker == broker]
    return ExplanationDocument.of(broker, triggers, event, at=at, to=to)


def _print(explained: ExplanationDocument) -> None:
    from broker.cli.printing import printable, stored_text
    from broker.codecs.json import decode_event

    if explained.at is not None:
        click.echo(f"{stored_text(decode_event(bytes(explained.event)), at=explained.at)}\n")
    namespace = explained.broker.partition("/")[0]
    names = [each.name.removeprefix(f"{namespace}/") for each in explained.triggers]
    width = max(map(len, names), default=0)
    for name, trigger in zip(names, explained.triggers, strict=True):
        verdict = click.style("yes", fg="green") if trigger.matches else click.style("no", dim=True)
        first, *others = [printable(clause.text) for clause in trigger.clauses] or [""]
        click.echo(f"{name:{width}}  {verdict}   {first}".rstrip())
        for other in others:
            click.echo(f"{'':{width}}  {'':2}   {other}")
    if explained.to is not None:
        to = explained.to.removeprefix(f"{namespace}/")
        click.echo(f"It was redriven to {to} alone, whatever the filters say.")
    click.echo(_summary(explained))


def _summary(explained: ExplanationDocument) -> str:
    matching, total = sum(each.matches for each in explained.triggers), len(explained.triggers)
    if not total:
        return f"{explained.broker} has no triggers."
    return f"{matching} of {total} {'trigger matches' if total == 1 else 'triggers match'}"
