"""``cemesh new``: a package to begin with, which works as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from broker.cli.exits import Exit
from broker.cli.help import Command, Group

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEMPLATES: Final = {
    "pyproject.toml.txt": "pyproject.toml",
    "module.py.txt": "{module}.py",
    "tests/test_module.py.txt": "tests/test_{module}.py",
    "mesh.yaml.txt": "mesh.yaml",
    "README.md.txt": "README.md",
}


@click.group(cls=Group, short_help="Write a package to begin with.")
def new() -> None:
    """Write a package to begin with: it works as it is, and has a test."""


def _name(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise click.BadParameter(
            f"'{name}' is no name of a package: a-z, 0-9 and single '-', a letter first"
        )
    return name


@new.command(
    cls=Command,
    short_help="Write a package with a source.",
    epilog="""
    Examples:

      cemesh new source orders
      cemesh new source orders --folder plugins/orders

    Exit codes:

      0  written
      1  refused: there is something in that folder
      2  wrong usage
    """,
)
@click.argument("name", callback=_name)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write it.  [default: a folder of that name]",
)
def source(*, name: str, folder: Path | None) -> None:
    """Write a Python package with a source, its test and a manifest, into a folder of its own.

    The kind of the source `orders` is OrdersSource.
    """
    stem = name.removesuffix("-source")
    to = folder or Path(f"{stem}-source")
    if to.exists() and any(to.iterdir()):
        click.echo(f"{to} is not empty: name another folder with --folder", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)
    for path, text in _written(stem):
        file = to / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        click.echo(f"wrote {file}")
    click.echo(
        f"\nNext:\n\n  cd {to}\n  pip install -e '.[test]'\n  pytest\n  cemesh run mesh.yaml"
    )


def _written(stem: str) -> Iterator[tuple[str, str]]:
    """Yield each file of the package, with its text."""
    from importlib.metadata import version

    major, minor, *_ = version("cemesh").split(".")
    words = {
        "name": stem,
        "project": f"{stem}-source",
        "module": f"{stem.replace('-', '_')}_source",
        "kind": "".join(part.capitalize() for part in stem.split("-")) + "Source",
        "version": f"{major}.{minor}.0",
    }
    folder = files("broker.cli") / "templates" / "source"
    for template, path in _TEMPLATES.items():
        text = (folder / template).read_text(encoding="utf-8")
        yield path.format_map(words), text.format_map(words)
