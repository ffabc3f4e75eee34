"""A certificate authority of one's own, for tests over TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The authority's certificate as PEM text, and a server's context that it vouches for."""

    authority: str
    server: ssl.SSLContext


def make_certificates(*names: str) -> Certificates:
    """Make an authority, and a server certificate for these names: localhost if there are none."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(server)
    return Certificates(authority=authority.cert_pem.bytes().decode("ascii"), server=server)
