"""``cemesh version``."""

from __future__ import annotations

import click

from broker.cli.help import Command


@click.command(
    "version",
    cls=Command,
    short_help="Print the version.",
    epilog="""
    Example:

      cemesh version

    Exit codes: 0 always.
    """,
)
def show_version() -> None:
    """Print the version of cemesh and of what it runs on."""
    import platform
    import sqlite3
    from importlib.metadata import version

    click.echo(
        f"cemesh {version('cemesh')} "
        f"(Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.machine()})"
    )
