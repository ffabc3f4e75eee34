"""The types of the values that options and arguments take."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from broker.tls import CaFile

_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_WITH_PASSWORD: Final = re.compile(r"://[^/]*:.*@")
_LAST_PORT: Final = 65_535
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


class Authorities(click.ParamType[CaFile]):
    """A file of certificate authorities."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> CaFile:
        try:
            return CaFile(Path(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Address(click.ParamType[tuple[str, int]]):
    """A host and a port: ``HOST:PORT``, ``[::1]:8081``."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            host, port = value
            return host, port
        found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})", str(value), re.ASCII)
        if not found or int(found[3]) > _LAST_PORT:
            self.fail(
                f"'{value}' is not HOST:PORT, such as localhost:8081 or [::1]:8081", param, ctx
            )
        return found[1] or found[2], int(found[3])
