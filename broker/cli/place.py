"""Where the admin port of a running mesh is, and how it is spoken to."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, cast

import click

from broker.cli.options import Decorated, admin_address, file_option
from broker.tls import CaFile, pinned_context, read_certificates, read_pair, tls_context


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPlace:
    """An admin port, which speaks plain HTTP where there is no ``tls``."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def admin_place(command: Decorated) -> Decorated:
    """Add the options that say where a mesh is asked, and how, as the argument ``admin``."""

    @wraps(command)
    def gathered(**given: Any) -> object:  # noqa: ANN401 - the arguments of any command
        try:
            tls = _tls(
                wanted=given.pop("admin_tls"),
                known_by=given.pop("admin_tls_cert"),
                authorities=given.pop("admin_ca_certs"),
                certificate=given.pop("admin_cert"),
                key=given.pop("admin_key"),
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        host, port = given.pop("admin_host"), given.pop("admin_port")
        return command(admin=AdminPlace(host=host, port=port, tls=tls), **given)

    decorated = cast("Decorated", gathered)
    for name, told in (
        ("admin-key", "The private key of --admin-cert, not encrypted (PEM)."),
        ("admin-cert", "Show the admin port this certificate (PEM)."),
        ("admin-ca-certs", "Trust the authorities of this file (PEM), not the system's."),
        (
            "admin-tls-cert",
            "Speak TLS with the admin port, and take this file's certificate alone, by any name.",
        ),
    ):
        decorated = file_option(name, told)(decorated)
    decorated = click.option(
        "--admin-tls",
        is_flag=True,
        envvar="CEMESH_ADMIN_TLS",
        show_envvar=True,
        help="Speak TLS with the admin port, as is done by any of the next, too.",
    )(decorated)
    return admin_address(decorated)


def _tls(
    *,
    wanted: bool,
    known_by: Path | None,
    authorities: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> ssl.SSLContext | None:
    """Return the context for that, or None for plain HTTP. Raises ValueError."""
    if not (wanted or known_by or authorities or certificate or key):
        return None
    shown: tuple[str, str] | tuple[None, None] = (None, None)
    if certificate is not None and key is not None:
        shown = read_pair(certificate, key)
    elif certificate is not None or key is not None:
        raise ValueError("--admin-cert and --admin-key go together")
    if authorities is None and known_by is not None:
        return pinned_context(read_certificates(known_by), *shown)
    return tls_context(None if authorities is None else CaFile(authorities).pem, *shown)
