"""``cemesh explain --delivery``: what a trigger's delivery comes to, with all its waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from broker.cli.exits import RefusedError
from broker.errors import did_you_mean

if TYPE_CHECKING:
    from broker.admin.models import DeliveryDocument
    from broker.cli.client import AdminClient
    from broker.trigger import Desired


_UNITS: Final = {"d": 86400, "h": 3600, "min": 60}


def explain_delivery(trigger: str, files: Desired | None, mesh: AdminClient, output: str) -> None:
    """Print the delivery of a trigger: of these files, or else of the running mesh."""
    import msgspec

    from broker.cli.tables import print_table

    found = mesh.delivery(trigger) if files is None else _of_files(trigger, files)
    if output == "json":
        click.echo(msgspec.json.encode(found))
        return
    for name, text in _lines(found):
        click.echo(f"{name:14} {text}")
    if found.waits:
        click.echo()
        print_table(
            ["RETRY", "WAIT", "WAITED IN ALL"],
            [(each.retry, _seconds(each.wait), _seconds(each.total)) for each in found.waits],
        )
        varied = f"each varied by up to {found.jitter:.0%}" if found.jitter else "not varied"
        more = found.retries - len(found.waits)
        click.echo(f"Waits are {varied}{f'; {more:,} more retries follow' if more else ''}.")


def _of_files(trigger: str, files: Desired) -> DeliveryDocument:
    from broker.admin.models import DeliveryDocument

    found = files.triggers.get(trigger)
    if found is None:
        hint = did_you_mean(trigger, files.triggers)
        raise RefusedError(f"there is no trigger {trigger} in the manifests{hint}")
    return DeliveryDocument.of(found)


def _lines(found: DeliveryDocument) -> Iterator[tuple[str, str]]:
    yield "trigger", click.style(found.trigger, bold=True)
    yield "subscriber", found.subscriber
    yield "attempts", f"1 and {found.retries:,} retries, each within {_seconds(found.timeout)}"
    parts = {
        "to connect": found.timeouts.connect,
        "to send": found.timeouts.write,
        "to the first byte": found.timeouts.first_byte,
        "for the rest": found.timeouts.body,
    }
    bounds = [f"{_seconds(each)} {part}" for part, each in parts.items() if each is not None]
    if bounds:
        yield "of these", ", ".join(bounds)
    yield "backoff", found.backoff_policy
    yield "Retry-After", f"heeded up to {_seconds(found.retry_after_max)}"
    yield "dead letters", found.dead_letter_sink or "stay in the broker's own store"
    if found.reply is not None:
        yield "replies", f"go to {found.reply}"
    yield "at a time", ", ".join(_limits(found))
    if found.breaker is None:
        yield "pauses", "never by itself"
    else:
        pause, longest = _seconds(found.breaker.pause), _seconds(found.breaker.max_pause)
        failures = f"{found.breaker.failures:,} failures in a row"
        yield "pauses", f"after {failures}, for {pause} up to {longest}"
    if found.limits.max_age is not None:
        yield "gives up", f"events older than {_seconds(found.limits.max_age)}"
    if found.ordered:
        parks = "; one that is given up is parked" if found.parks else ""
        yield "order", f"one after the other for each partitionkey{parks}"
    if found.format is not None:
        yield "format", found.format
    if found.signing_keys:
        yield "signed", f"by {found.signing_keys} key{'s' if found.signing_keys > 1 else ''}"
    if found.credentials:
        yield "shows", ", ".join(found.credentials)
    if found.consent is not None:
        yield "consent", f"asked for in the name of {found.consent}"


def _limits(found: DeliveryDocument) -> Iterator[str]:
    limits, batch = found.limits, found.batch
    yield f"{limits.parallelism:,} request{'s' if limits.parallelism > 1 else ''}"
    if batch is not None:
        yield f"each of up to {batch.max_events:,} events or {batch.max_bytes:,} bytes"
        yield f"or what comes within {_seconds(batch.max_wait)}"
    if limits.rate is not None:
        yield f"{limits.rate:,g} a second and {limits.burst:,} at once"
    if limits.bytes_in_flight is not None:
        yield f"{limits.bytes_in_flight:,} bytes"


def _seconds(seconds: float) -> str:
    """Return the time in the largest unit of which it is a whole number, or in seconds."""
    for unit, size in _UNITS.items():
        if seconds and not seconds % size:
            return f"{seconds / size:,g} {unit}"
    return f"{seconds:,.10g} s"
