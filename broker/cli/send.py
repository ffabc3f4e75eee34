"""``cemesh send``."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Final, Literal

import click

from broker.cli.exits import RefusedError, UnreachableError
from broker.cli.help import Command
from broker.cli.options import DEFAULT_BROKER, data_address, output_option
from broker.cli.tlsoptions import https_route
from broker.cli.values import Pair
from broker.errors import InvalidEvent

if TYPE_CHECKING:
    from broker.cli.sending import Plan, Sent
    from broker.event import Event
    from sinks.http import Route

_DEFAULT_SOURCE: Final = "/cemesh/send"
_LONG: Final = 500
"""Events from which on a terminal is shown a progress bar."""

_WITH_OPTIONS: Final = frozenset(
    {"specversion", "id", "source", "type", "subject", "datacontenttype"}
)


@click.command(
    cls=Command,
    short_help="Send events to a broker.",
    epilog="""
    Examples:

      cemesh send --type com.example.greeting --data '{"hello": "world"}'
      cemesh send shop/orders --type com.example.order.created --subject 1042 \\
          -e priority=high -e time=2026-01-31T12:00:00Z --file order.json
      cemesh send http://127.0.0.1:8080/default/default --type com.example.ping
      cemesh send https://mesh.example.com/default/default --ca-certs ca.crt --type com.example.ping
      cemesh send --type com.example.load --count 100000 --mode batch --rate 5000

    Exit codes:

      0  every event was accepted
      1  the mesh refused one; its reason is printed and nothing more is sent
      2  wrong usage, or not a valid CloudEvent
      3  no mesh answers
    """,
)
@click.argument("target", default=DEFAULT_BROKER, metavar="[NAMESPACE/BROKER | URL]")
@data_address
@https_route
@click.option("--type", "type_", required=True, help="The event's type.")
@click.option("--source", default=_DEFAULT_SOURCE, show_default=True, help="The event's source.")
@click.option(
    "--id",
    help="The event's id. With --count, the stem of the ids: ID-1, ID-2 … Default: a fresh UUID.",
)
@click.option("--subject", help="The event's subject.")
@click.option(
    "-e",
    "--extension",
    "extensions",
    type=Pair("NAME=VALUE"),
    multiple=True,
    help="Any other attribute, such as an extension, time or dataschema. Repeatable.",
)
@click.option("-d", "--data", help="The payload, as text.")
@click.option("--file", type=click.File("rb"), help="File with the payload; - is standard input.")
@click.option(
    "--content-type",
    help="Media type of the payload. Default: application/json where it is JSON, otherwise "
    "text/plain where it is UTF-8, otherwise application/octet-stream.",
)
@click.option(
    "--mode",
    type=click.Choice(["binary", "structured", "batch"]),
    default="binary",
    show_default=True,
    help="The content mode.",
)
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Events in one request, in batch mode.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Requests under way at a time.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Events a second at most. Default: as fast as they are accepted.",
)
@output_option
def send(
    *,
    target: str,
    host: str,
    port: int,
    route: Route,
    type_: str,
    source: str,
    id: str | None,
    subject: str | None,
    extensions: tuple[tuple[str, str], ...],
    data: str | None,
    file: IO[bytes] | None,
    content_type: str | None,
    mode: Literal["binary", "structured", "batch"],
    count: int,
    batch_size: int,
    concurrency: int,
    rate: float | None,
    output: str,
) -> None:
    """Send events to a broker (default/default), and say which were accepted.

    Nothing is sent twice: an event that got no answer may or may not have been stored.
    """
    payload = _payload(data, file)
    attributes = {"specversion": "1.0", "source": source, "type": type_}
    if subject is not None:
        attributes["subject"] = subject
    if content_type is not None or payload is not None:
        attributes["datacontenttype"] = content_type or _media_type(payload or b"")
    attributes |= _extensions(extensions)

    from broker.cli.sending import Plan

    try:
        events = _events(attributes, payload, id, count)
    except InvalidEvent as error:
        raise click.UsageError(str(error)) from None
    plan = Plan(
        url=_url(target, host, port),
        route=route,
        events=events,
        mode=mode,
        batch_size=batch_size if mode == "batch" else 1,
        concurrency=min(concurrency, count),
        rate=rate,
    )
    started = time.monotonic()
    sent = _send(plan, count)
    _report(sent, plan.url, time.monotonic() - started, output)


def _url(target: str, host: str, port: int) -> str:
    if "://" in target:
        return target
    if not re.fullmatch(r"[^/?#\s]+/[^/?#\s]+", target):
        raise click.UsageError(f"'{target}' is neither NAMESPACE/BROKER nor a URL")
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"http://{authority}/{target}"


def _payload(data: str | None, file: IO[bytes] | None) -> bytes | None:
    if data is not None and file is not None:
        raise click.UsageError("--data and --file exclude each other")
    # What came in as bytes that are not UTF-8 goes out as the same bytes.
    return file.read() if file else None if data is None else data.encode(errors="surrogateescape")


def _media_type(payload: bytes) -> str:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "text/plain"
    return "application/json"


def _extensions(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    extensions: dict[str, str] = {}
    for name, value in pairs:
        if name in _WITH_OPTIONS:
            raise click.UsageError(f"'{name}' is not given by --extension")
        if name in extensions:
            raise click.UsageError(f"the attribute '{name}' is given twice")
        extensions[name] = value
    return extensions


def _events(
    attributes: Mapping[str, str], payload: bytes | None, id: str | None, count: int
) -> Iterator[Event]:
    """Return ``count`` events; raises `InvalidEvent` at once where they are not valid."""
    from uuid import uuid4

    from broker.event import Event

    first = Event.checked({**attributes, "id": str(uuid4()) if id is None else id}, payload)
    if count == 1:
        return iter([first])
    return (
        Event({**attributes, "id": str(uuid4()) if id is None else f"{id}-{number}"}, payload)
        for number in range(1, count + 1)
    )


def _send(plan: Plan, count: int) -> Sent:
    import asyncio

    from broker.cli.sending import send_events

    hidden = count < _LONG or not sys.stderr.isatty()
    with click.progressbar(
        length=count, label="Sending", file=sys.stderr, hidden=hidden, show_pos=True
    ) as bar:
        return asyncio.run(send_events(plan, bar.update))


def _report(sent: Sent, url: str, seconds: float, output: str) -> None:
    from sinks.http import NoAnswer, Response

    accepted = len(sent.accepted)
    if output == "json":
        click.echo(json.dumps({"accepted": accepted, "ids": sent.accepted}))
    elif accepted == 1:
        click.echo(f"accepted {sent.accepted[0]}")
    elif accepted:
        click.echo(f"accepted {accepted:,} events in {seconds:.1f} s")
    match sent.failure:
        case Response() as response:
            from broker.cli.sending import refusal_text

            raise RefusedError(f"{url} {refusal_text(response)}")
        case NoAnswer(reason=reason):
            raise UnreachableError(f"no mesh answers at {url}: is `cemesh run` running? ({reason})")
        case None:
            pass
