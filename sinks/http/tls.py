"""Whom HTTPS trusts."""

from __future__ import annotations

import ssl
from functools import lru_cache

from sinks.http.reader import NoAnswer


@lru_cache(maxsize=256)
def tls_context(ca_certs: str | None) -> ssl.SSLContext:
    """Return a context that checks the server's name and certificate.

    It trusts the system's authorities and those of the PEM text ``ca_certs``. Raises
    `NoAnswer` if that text cannot be read. Reading the system's takes tens of milliseconds,
    so contexts are kept.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_certs is not None:
        # Bundles carry comments between the certificates, and not always in ASCII.
        ascii_certs = ca_certs.encode("ascii", "replace").decode("ascii")
        try:
            context.load_verify_locations(cadata=ascii_certs)
        except (ssl.SSLError, ValueError) as error:
            raise NoAnswer(f"the CA certificates to trust cannot be read: {error}") from None
    return context
