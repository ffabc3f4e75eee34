"""``cemesh bind``: the environment that a SinkBinding gives a program."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

import click

from broker.cli.exits import RefusedError
from broker.cli.help import Command
from broker.cli.options import data_address, resolve_option
from broker.errors import did_you_mean

if TYPE_CHECKING:
    from broker.manifest.sinkbindings import SinkBinding

_CONTRACT: Final = ("K_SINK", "K_CE_OVERRIDES", "K_CA_CERTS")
_BROKER: Final = "broker://"


def _key(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    return name if "/" in name else f"default/{name}"


def _base(ctx: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        fit = fit and not parts.query and not parts.fragment
    except ValueError:
        fit = False
    if not fit:
        raise click.BadParameter(f"'{url}' is not of the form http://HOST:PORT or https://HOST")
    return url.rstrip("/")


# What stands behind NAME is the command's, its options too.
@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    short_help="Run a program as a SinkBinding says.",
    epilog="""
    Examples:

      cemesh bind -m mesh.yaml heartbeat -- python heartbeat.py --every 5
      cemesh bind -m manifests/ --url https://events.example shop/till -- ./till
      eval "$(cemesh bind -m mesh.yaml heartbeat)"

    Exit codes:

      0  printed; a command ends with its own
      1  no such binding; the manifests have problems; the command cannot be run
      2  wrong usage
    """,
)
@click.argument("name", metavar="[NAMESPACE/]NAME", callback=_key)
@click.argument("command", metavar="[-- COMMAND [ARGS]...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-m",
    "--manifests",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    envvar="CEMESH_PATHS",
    show_envvar=True,
    help="A file or folder with the binding and its broker. Repeatable.",
)
@data_address
@click.option(
    "--url",
    callback=_base,
    help="Where the mesh takes events, in place of --host and --port: of a proxy with TLS, say.",
)
@resolve_option
def bind(
    *,
    name: str,
    command: tuple[str, ...],
    paths: tuple[Path, ...],
    host: str,
    port: int,
    url: str | None,
    resolve: tuple[tuple[str, str], ...],
) -> None:
    """Run COMMAND with the variables that a SinkBinding gives to programs.

    These are K_SINK, K_CE_OVERRIDES and K_CA_CERTS. COMMAND takes the place of this process.
    Without one, the variables are printed for a shell. The mesh is not asked, and need not run
    yet.
    """
    given = command[1:] if command[:1] == ("--",) else command
    if given == command and command and command[0].startswith("-"):
        raise click.UsageError(f"{command[0]} stands behind NAME, where only COMMAND may stand")

    from broker.manifest import load

    bindings = load(paths, resolve=dict(resolve)).bindings
    if name not in bindings:
        known = ", ".join(sorted(bindings)) or "none"
        hint = did_you_mean(name, bindings)
        raise RefusedError(f"no SinkBinding {name} in the manifests{hint}; there is: {known}")
    variables = _variables(bindings[name], url or _address(host, port))
    if given:
        _become(given, variables)
    _print(variables)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _variables(binding: SinkBinding, mesh: str) -> Mapping[str, str]:
    """Return what a program of the binding is told, where ``mesh`` is the data port's URL."""
    sink = binding.sink
    broker = sink.url.startswith(_BROKER)
    variables = {
        "K_SINK": f"{mesh}/{sink.url.removeprefix(_BROKER)}" if broker else sink.url,
        "K_CE_OVERRIDES": json.dumps({"extensions": dict(binding.extensions)}),
    }
    return variables if sink.ca_certs is None else {**variables, "K_CA_CERTS": sink.ca_certs}


def _become(command: tuple[str, ...], variables: Mapping[str, str]) -> NoReturn:
    """Let the command take the place of this process."""
    inherited = {name: value for name, value in os.environ.items() if name not in _CONTRACT}
    # Python ignores these, and a program would go on to do so: a pipe whose reader has gone
    # would not end it.
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)
    environment = {**inherited, **variables}
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - what the user asks for
    except OSError as error:
        raise RefusedError(f"{command[0]} cannot be run: {error.strerror}") from None


def _print(variables: Mapping[str, str]) -> None:
    for name in _CONTRACT:
        if name in variables:
            click.echo(f"export {name}={shlex.quote(variables[name])}")
        else:
            click.echo(f"unset {name}")  # what is left of another binding would be trusted
