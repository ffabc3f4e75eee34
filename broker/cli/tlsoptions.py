"""The options by which the ports of a mesh speak TLS."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from broker.settings import TlsFiles

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def data_tls_options(command: Decorated) -> Decorated:
    """Add ``--tls-cert``, ``--tls-key`` and ``--client-ca``, as the argument ``tls``."""
    return _port_tls(
        command,
        prefix="",
        into="tls",
        cert="Take events by TLS alone, with the certificate of this file (PEM; behind it those "
        "between it and the authority). Read again when it changes, as are the others.",
        client_ca="Take events only of whom shows a certificate that an authority of this file "
        "(PEM) vouches for.",
    )


def admin_tls_options(command: Decorated) -> Decorated:
    """Add the same of the admin port, each with ``--admin-`` before it, as ``admin_tls``."""
    return _port_tls(
        command,
        prefix="admin-",
        into="admin_tls",
        cert="Have the admin port speak TLS alone, with the certificate of this file.",
        client_ca="Answer on the admin port only whom shows a certificate that an authority of "
        "this file vouches for, but for /healthz and /readyz.",
    )


def _port_tls(
    command: Decorated, *, prefix: str, into: str, cert: str, client_ca: str
) -> Decorated:
    cert_name, key_name = f"{prefix}tls-cert", f"{prefix}tls-key"
    ca_name = f"{prefix}client-ca"

    @wraps(command)
    def gathered(**given: Any) -> object:  # noqa: ANN401 - the arguments of any command
        certificate, key, client_ca = (
            given.pop(name.replace("-", "_")) for name in (cert_name, key_name, ca_name)
        )
        if (certificate is None) != (key is None):
            raise click.UsageError(f"--{cert_name} and --{key_name} go together")
        if client_ca is not None and certificate is None:
            raise click.UsageError(f"--{ca_name} needs --{cert_name} and --{key_name}")
        given[into] = (
            None
            if certificate is None
            else TlsFiles(certificate=certificate, key=key, client_ca=client_ca)
        )
        return command(**given)

    decorated = cast("Decorated", gathered)
    for name, told in (
        (ca_name, client_ca),
        (key_name, f"The private key of --{cert_name}, not encrypted (PEM)."),
        (cert_name, cert),
    ):
        decorated = _file(name, told)(decorated)
    return decorated


def _file(name: str, help: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        f"--{name}",
        type=click.Path(path_type=Path),
        metavar="FILE",
        envvar=f"CEMESH_{name.replace('-', '_').upper()}",
        show_envvar=True,
        help=help,
    )
