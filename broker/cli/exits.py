"""How commands end: exit codes, and the errors that carry them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import click

from broker.errors import (
    CemeshError,
    ChannelUnavailable,
    DataDirectoryInUse,
    PluginNotFound,
)


class Exit(IntEnum):
    """The exit codes; ``docs/cli.md`` lists them."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


class RefusedError(click.ClickException):
    """What was asked for was refused, or is not there."""

    exit_code = Exit.REFUSED


class UnreachableError(click.ClickException):
    """There is no mesh to talk to, or it cannot start."""

    exit_code = Exit.UNREACHABLE


_CANNOT_START: Final = (ChannelUnavailable, DataDirectoryInUse, PluginNotFound)


def as_click(error: CemeshError) -> click.ClickException:
    """Return the error in the form that ends a command with its text and its exit code."""
    if isinstance(error, _CANNOT_START):
        return UnreachableError(str(error))
    return RefusedError(str(error))
