"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from broker.cli.values import (
    Authorities,
    ChannelUrl,
    Destination,
    Duration,
    Pair,
    ProxyUrl,
    Size,
)
from broker.settings import StorySettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEFAULT_BROKER: Final = "default/default"


def manifest_paths(command: Decorated) -> Decorated:
    """Add the argument ``PATHS`` of a command that can do without."""
    return click.argument(
        "paths", nargs=-1, envvar="CEMESH_PATHS", type=click.Path(path_type=Path)
    )(command)


def file_option(name: str, help: str) -> Callable[[Decorated], Decorated]:
    """Return what adds the option ``--name FILE``, with the variable that goes with it."""
    return click.option(
        f"--{name}",
        type=click.Path(path_type=Path),
        metavar="FILE",
        envvar=f"CEMESH_{name.replace('-', '_').upper()}",
        show_envvar=True,
        help=help,
    )


def admin_address(command: Decorated) -> Decorated:
    """Add ``--admin-host`` and ``--admin-port``."""
    port = click.option(
        "--admin-port",
        type=click.IntRange(0, 65535),
        default=8081,
        show_default=True,
        envvar="CEMESH_ADMIN_PORT",
        show_envvar=True,
        help="Port of the mesh's admin API.",
    )
    host = click.option(
        "--admin-host",
        default="127.0.0.1",
        show_default=True,
        envvar="CEMESH_ADMIN_HOST",
        show_envvar=True,
        help="Host of the mesh's admin API.",
    )
    return host(port(command))


def data_address(command: Decorated) -> Decorated:
    """Add ``--host`` and ``--port`` of the data port."""
    port = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        show_default=True,
        envvar="CEMESH_PORT",
        show_envvar=True,
        help="Port that takes events.",
    )
    host = click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        envvar="CEMESH_HOST",
        show_envvar=True,
        help="Host that takes events.",
    )
    return host(port(command))


def channel_option(help: str) -> Callable[[Decorated], Decorated]:
    """Return what adds ``--channel``."""
    return click.option(
        "--channel",
        type=ChannelUrl(),
        metavar="URL",
        envvar="CEMESH_CHANNEL",
        show_envvar=True,
        help=help,
    )


def max_event_size_option(command: Decorated) -> Decorated:
    """Add ``--max-event-size``."""
    return click.option(
        "--max-event-size",
        type=Size(),
        default="1MiB",
        show_default=True,
        envvar="CEMESH_MAX_EVENT_SIZE",
        show_envvar=True,
        help="The largest request that is taken.",
    )(command)


def drain_timeout_option(help: str) -> Callable[[Decorated], Decorated]:
    """Return what adds ``--drain-timeout``."""
    return click.option(
        "--drain-timeout",
        type=Duration(),
        default="30s",
        show_default=True,
        envvar="CEMESH_DRAIN_TIMEOUT",
        show_envvar=True,
        help=help,
    )


def log_options(command: Decorated) -> Decorated:
    """Add ``--log-format``, ``--log-level`` and ``--audit-log``."""
    audit = click.option(
        "--audit-log",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        envvar="CEMESH_AUDIT_LOG",
        show_envvar=True,
        help="Write who changed what, and when, to this file too, one JSON object a line.",
    )
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        envvar="CEMESH_LOG_LEVEL",
        show_envvar=True,
        help="From where on the log tells; `cemesh log` changes it while the mesh runs.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        envvar="CEMESH_LOG_FORMAT",
        show_envvar=True,
    )
    return form(level(audit(command)))


def resolve_option(command: Decorated) -> Decorated:
    """Add ``--resolve REF=URL``, repeatable."""
    return click.option(
        "--resolve",
        type=Pair("KIND/NAMESPACE/NAME=URL"),
        multiple=True,
        envvar="CEMESH_RESOLVE",
        show_envvar=True,
        help="Take URL for what a ref of the manifests names. Repeatable.",
    )(command)


def network_options(command: Decorated) -> Decorated:
    """Add what says where deliveries may lead, by which way, and whom they trust."""
    ca_certs = click.option(
        "--ca-certs",
        type=Authorities(),
        metavar="FILE",
        envvar="CEMESH_CA_CERTS",
        show_envvar=True,
        help="Trust the certificate authorities of this file (PEM), too, wherever deliveries lead "
        "by TLS. Read again when it changes.",
    )
    no_proxy = click.option(
        "--no-proxy",
        type=Destination(),
        metavar="HOST|NETWORK",
        multiple=True,
        envvar="CEMESH_NO_PROXY",
        show_envvar=True,
        help="Reach this without the proxy. Repeatable.",
    )
    proxy = click.option(
        "--proxy",
        type=ProxyUrl(),
        metavar="URL",
        envvar="CEMESH_PROXY",
        show_envvar=True,
        help="Reach subscribers through this HTTP proxy, by CONNECT: http://HOST:PORT.",
    )
    return _allow_option(proxy(no_proxy(ca_certs(command))))


def _allow_option(command: Decorated) -> Decorated:
    return click.option(
        "--allow-destination",
        "allow",
        type=Destination(),
        metavar="HOST|NETWORK",
        multiple=True,
        envvar="CEMESH_ALLOW_DESTINATION",
        show_envvar=True,
        help="Let deliveries lead there, though it is no public address: a host's name, *.DOMAIN, "
        "an address, or a network such as 10.0.0.0/8. Repeatable.",
    )(command)


def story_options(command: Decorated) -> Decorated:
    """Add what says how the stories of events are kept, as the argument ``stories``."""
    sample = click.option(
        "--stories-sample",
        type=click.FloatRange(0, 1),
        default=1.0,
        show_default=True,
        envvar="CEMESH_STORIES_SAMPLE",
        show_envvar=True,
        help="The share of events whose whole story is kept; of others it is what went wrong.",
    )
    size = click.option(
        "--stories-size",
        type=Size(),
        envvar="CEMESH_STORIES_SIZE",
        show_envvar=True,
        help="How much of them is kept, 0 for nothing. Default: 256MiB, or 32MiB in memory.",
    )
    age = click.option(
        "--stories-age",
        type=Duration(),
        default="7d",
        show_default=True,
        envvar="CEMESH_STORIES_AGE",
        show_envvar=True,
        help="How long the stories of events are kept.",
    )
    folder = click.option(
        "--stories-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="CEMESH_STORIES_DIR",
        show_envvar=True,
        help="Where stories are kept. Default: in the data dir of the embedded channel; in memory "
        "on any other.",
    )

    @wraps(command)
    def gathered(**given: Any) -> object:  # noqa: ANN401 - the arguments of any command
        stories = StorySettings(
            folder=given.pop("stories_dir"),
            age=given.pop("stories_age"),
            size=given.pop("stories_size"),
            sample=given.pop("stories_sample"),
        )
        return command(stories=stories, **given)

    return folder(age(size(sample(cast("Decorated", gathered)))))


def output_option(command: Decorated) -> Decorated:
    """Add ``--output text|json``."""
    return click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="What to write to standard output: text for people, or JSON documents.",
    )(command)
