"""The options that several commands share, and the types of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEFAULT_BROKER: Final = "default/default"

_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_WITH_PASSWORD: Final = re.compile(r"://[^/]*:.*@")
_SIZES: Final = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}


class Duration(click.ParamType[timedelta]):
    """A number and a unit: ``500ms``, ``30s``, ``15m``, ``12h``, ``7d``."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,8}(?:\.\d{1,9})?)(ms|s|m|h|d)", str(value), re.ASCII)
        if not found:
            self.fail(f"'{value}' is not a duration such as 500ms, 30s, 15m, 12h or 7d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class Size(click.ParamType[int]):
    """A number of bytes, with or without a unit: ``1048576``, ``512KiB``, ``1GB``."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,15})([KMGT]i?B)?", str(value), re.ASCII)
        if not found:
            self.fail(f"'{value}' is not a size such as 1048576, 512KiB or 1GB", param, ctx)
        return int(found[1]) * _SIZES[found[2] or ""]


class Pair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``, split at the first ``=``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, sign, text = str(value).partition("=")
        if not name or not sign:
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)
        return name, text


class Key(click.ParamType[str]):
    """``NAMESPACE/NAME``."""

    name = "namespace/name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        if not re.fullmatch(r"[^/?#\s]+/[^/?#\s]+", str(value)):
            self.fail(f"'{value}' is not of the form NAMESPACE/NAME", param, ctx)
        return str(value)


class Destination(click.ParamType[str]):
    """The name of a host, ``*.DOMAIN``, an address or a network."""

    name = "destination"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        from sinks.http.destinations import parse_destination

        try:
            parse_destination(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def manifest_paths(command: Decorated) -> Decorated:
    """Add the argument ``PATHS`` of a command that runs manifests."""
    return click.argument(
        "paths",
        nargs=-1,
        required=True,
        envvar="CEMESH_PATHS",
        type=click.Path(path_type=Path),
    )(command)


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


class ChannelUrl(click.ParamType[str]):
    """The URL of a channel: with a password in it, from the environment only."""

    name = "url"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        given = ctx and param and param.name and ctx.get_parameter_source(param.name)
        if given is not ParameterSource.ENVIRONMENT and _WITH_PASSWORD.search(str(value)):
            self.fail(
                "others on this machine can see a password in the URL; give the URL in the "
                "variable CEMESH_CHANNEL, or the password in a Secret that the broker's "
                "configuration names",
                param,
                ctx,
            )
        return str(value)


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
    """Add ``--log-format`` and ``--log-level``."""
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        envvar="CEMESH_LOG_LEVEL",
        show_envvar=True,
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        envvar="CEMESH_LOG_FORMAT",
        show_envvar=True,
    )
    return form(level(command))


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


class ProxyUrl(click.ParamType[str]):
    """The URL of an HTTP proxy: with a password in it, from the environment only."""

    name = "url"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        from sinks.http.proxy import parse_proxy

        text = str(value)
        given = ctx and param and param.name and ctx.get_parameter_source(param.name)
        if given is not ParameterSource.ENVIRONMENT and _WITH_PASSWORD.search(text):
            self.fail(
                "others on this machine can see a password in the URL; give the URL in the "
                "variable CEMESH_PROXY",
                param,
                ctx,
            )
        try:
            parse_proxy(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return text


class Authorities(click.ParamType[str]):
    """A file of certificates, taken for what it holds."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        from sinks.http.tls import read_authorities

        try:
            return read_authorities(Path(str(value)))
        except ValueError as error:
            self.fail(f"{value} {error}", param, ctx)


def network_options(command: Decorated) -> Decorated:
    """Add what says where deliveries may lead, by which way, and whom they trust."""
    ca_certs = click.option(
        "--ca-certs",
        type=Authorities(),
        metavar="FILE",
        envvar="CEMESH_CA_CERTS",
        show_envvar=True,
        help="Trust the certificate authorities of this file (PEM), too, wherever deliveries lead "
        "by TLS. Read once, at the start.",
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


def output_option(command: Decorated) -> Decorated:
    """Add ``--output text|json``."""
    return click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="What to write to standard output: text for people, or JSON documents.",
    )(command)
