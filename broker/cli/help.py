"""Commands whose epilog, the examples, is printed as it was written."""

from __future__ import annotations

from inspect import cleandoc

import click


class _Verbatim(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(f"{cleandoc(self.epilog)}\n")


class Command(_Verbatim):
    """A command with examples and exit codes below its options."""


class Group(_Verbatim, click.Group):
    """A group with examples and exit codes below its commands."""

    command_class = Command
