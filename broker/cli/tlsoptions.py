"""The options by which the ports of a mesh speak TLS, and by which events are sent there."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, cast

import click

from broker.cli.options import Decorated, file_option
from broker.cli.values import Authorities
from broker.settings import TlsFiles
from broker.tls import read_pair


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
        decorated = file_option(name, told)(decorated)
    return decorated


def https_route(command: Decorated) -> Decorated:
    """Add ``--ca-certs``, ``--cert`` and ``--key`` of whoever sends, as the argument ``route``."""

    @wraps(command)
    def gathered(**given: Any) -> object:  # noqa: ANN401 - the arguments of any command
        from broker.policy import ClientCertificate
        from sinks.http import ANYWHERE

        authorities, certificate, key = (given.pop(name) for name in ("ca_certs", "cert", "key"))
        if (certificate is None) != (key is None):
            raise click.UsageError("--cert and --key go together")
        shown = None
        if certificate is not None:
            try:
                pem, its_key = read_pair(certificate, key)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            shown = ClientCertificate(certificate=pem, key=its_key)
        trusted = None if authorities is None else authorities.pem
        return command(route=replace(ANYWHERE, ca_certs=trusted, certificate=shown), **given)

    ca_certs = click.option(
        "--ca-certs",
        type=Authorities(),
        metavar="FILE",
        envvar="CEMESH_CA_CERTS",
        show_envvar=True,
        help="Trust the certificate authorities of this file (PEM), too, at an https URL.",
    )
    path = click.Path(path_type=Path)
    cert = click.option("--cert", type=path, metavar="FILE", help="Show this certificate there.")
    key = click.option("--key", type=path, metavar="FILE", help="The private key of --cert.")
    return ca_certs(cert(key(cast("Decorated", gathered))))
