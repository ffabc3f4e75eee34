"""The group of all commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from broker.cli.bind import bind
from broker.cli.check import check
from broker.cli.deadletters import deadletters
from broker.cli.display import display
from broker.cli.event import event
from broker.cli.events import events
from broker.cli.exits import Exit, as_click
from broker.cli.explain import explain
from broker.cli.help import Group
from broker.cli.installed import sinks
from broker.cli.log import log
from broker.cli.new import new
from broker.cli.parked import parked
from broker.cli.parts import dispatcher, ingress, sources
from broker.cli.pause import pause, resume
from broker.cli.plan import plan
from broker.cli.run import run
from broker.cli.send import send
from broker.cli.status import status
from broker.cli.tail import tail
from broker.cli.test import run_tests
from broker.cli.version import show_version
from broker.errors import CemeshError


class _Root(Group):
    def invoke(self, ctx: click.Context) -> object:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except CemeshError as error:
            raise as_click(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(Exit.INTERRUPTED) from None


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    Start a mesh, send it an event, and see what became of it:

      cemesh run mesh.yaml
      cemesh send --type com.example.greeting --data '{"hello": "world"}'
      cemesh status

    Exit codes: 0 done, 1 refused or problems found, 2 wrong usage,
    3 no mesh answers or it cannot start, 130 interrupted.
    """,
)
@click.version_option(package_name="cemesh", message="%(prog)s %(version)s")
def cli() -> None:
    """A CloudEvents broker and trigger mesh."""


for _command in (
    run,
    check,
    run_tests,
    plan,
    explain,
    send,
    tail,
    events,
    event,
    status,
    deadletters,
    pause,
    resume,
    parked,
    log,
    display,
    bind,
    ingress,
    dispatcher,
    sources,
    sinks,
    new,
    show_version,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command that the process was started with, and exit."""
    # Where a user's own sources are: behind all else, so that no module of theirs hides another.
    if (here := str(Path.cwd())) not in sys.path and "" not in sys.path:
        sys.path.append(here)
    cli(prog_name="cemesh")
