"""``cemesh display``."""

from __future__ import annotations

import click

from broker.cli.exits import UnreachableError
from broker.cli.help import Command
from broker.cli.options import output_option
from broker.cli.values import Pair


@click.command(
    cls=Command,
    short_help="Run a subscriber that prints events.",
    epilog="""
    Examples:

      cemesh display --port 9000
      cemesh display --port 9000 --answer /flaky=503,503,200 --answer /dead=500
      cemesh display --port 9000 --delay /slow=2.5

    With /flaky=503,503,200 the first two attempts of every event get a 503, all
    further ones a 200.

    Exit codes:

      2    wrong usage
      3    the port is taken
      130  interrupted
    """,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Host to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9000,
    show_default=True,
    help="Port to listen on; 0 takes any that is free.",
)
@click.option(
    "--answer",
    "answers",
    type=Pair("PATH=STATUS[,STATUS…]"),
    multiple=True,
    help="Statuses for the attempts of each event at PATH; the last one repeats. Repeatable.",
)
@click.option(
    "--delay",
    "delays",
    type=Pair("PATH=SECONDS"),
    multiple=True,
    help="Wait that long before answering at PATH. Repeatable.",
)
@output_option
def display(
    *,
    host: str,
    port: int,
    answers: tuple[tuple[str, str], ...],
    delays: tuple[tuple[str, str], ...],
    output: str,
) -> None:
    """Run a subscriber that prints every event it gets, and answers 200.

    With --output json, one object a line: time, path, the status answered, and the event.
    """
    from broker.cli.subscriber import Subscriber, serve

    subscriber = Subscriber(
        answers={path: _statuses(path, text) for path, text in answers},
        delays={path: _seconds(path, text) for path, text in delays},
        output="json" if output == "json" else "text",
    )
    try:
        serve(subscriber, host, port)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnreachableError(
            f"cannot listen on {host}:{port}: {error.strerror or error}"
        ) from None


def _statuses(path: str, text: str) -> tuple[int, ...]:
    statuses = text.split(",")
    if not _is_path(path) or not all(
        each.isascii() and each.isdigit() and 200 <= int(each) <= 599 for each in statuses
    ):
        raise click.UsageError(
            f"--answer '{path}={text}' is not of the form /PATH=STATUS[,STATUS…], "
            "each status from 200 to 599"
        )
    return tuple(map(int, statuses))


def _seconds(path: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not _is_path(path) or not 0 <= seconds <= 3600:
        raise click.UsageError(
            f"--delay '{path}={text}' is not of the form /PATH=SECONDS, up to an hour"
        )
    return seconds


def _is_path(path: str) -> bool:
    return path.startswith("/")
