"""Lists the sources and sinks that are installed: ``cemesh sources``, ``cemesh sinks``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import click

from broker.cli.help import Command
from broker.cli.options import output_option


@click.command(
    cls=Command,
    short_help="List the sinks that are installed.",
    epilog="""
    Examples:

      cemesh sinks
      cemesh sinks --output json

    Exit codes:

      0  printed
      2  wrong usage
    """,
)
@output_option
def sinks(*, output: str) -> None:
    """List what events can be sent to: kinds of object, schemes of URLs, and whose they are."""
    from broker import plugins

    kinds = plugins.sink_kinds()
    rows = []
    for each in plugins.installed("sink"):
        versions = ""
        if each.fault is None and each.name in kinds:
            versions = ", ".join(plugins.sink(each.name).api_versions)
        rows.append((each.name, versions, each.origin, each.fault or _summary(each.loaded)))
    broker = (plugins.BROKER_SCHEME, "", "cemesh", "Another broker of the mesh.")
    show(["SINK", "APIVERSION", "PACKAGE", ""], sorted([*rows, broker]), output=output)


def list_sources(*, output: str) -> None:
    """Print the sources that are installed: kind, apiVersion, the package and what it is."""
    from broker import plugins

    rows = []
    for each in plugins.installed("source"):
        versions, told = "", each.fault
        if told is None:
            versions = ", ".join(plugins.source(each.name).api_versions)
            told = _summary(each.loaded)
        rows.append((each.name, versions, each.origin, told))
    show(["KIND", "APIVERSION", "PACKAGE", ""], sorted(rows), output=output)


def show(heads: Sequence[str], rows: Sequence[Sequence[str]], *, output: str) -> None:
    """Print the rows as a table or as one JSON document; a head that is empty is the summary."""
    import json

    from broker.cli.tables import print_table

    if output == "json":
        names = [head.lower() or "summary" for head in heads]
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
    else:
        print_table(heads, rows)


def _summary(loaded: object) -> str:
    """Return the first line of its documentation."""
    return (inspect.getdoc(loaded) or "").partition("\n")[0]
