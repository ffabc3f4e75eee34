"""A certificate authority of one's own, for tests over TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from broker.policy import ClientCertificate
from broker.tls import CaFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The authority's certificate as PEM text, and what it vouches for: a server and a client."""

    authority: str
    server: ssl.SSLContext
    client: ClientCertificate

    def ca_file(self, folder: Path) -> CaFile:
        """Write the authority into a file in that folder."""
        path = folder / "authority.pem"
        path.write_text(self.authority)
        return CaFile(path)


def make_certificates(*names: str) -> Certificates:
    """Make an authority, and a server certificate for these names: localhost if there are none."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(server)
    issued = authority.issue_cert("client.test")
    client = ClientCertificate(
        certificate=issued.cert_chain_pems[0].bytes().decode("ascii"),
        key=issued.private_key_pem.bytes().decode("ascii"),
    )
    return Certificates(
        authority=authority.cert_pem.bytes().decode("ascii"), server=server, client=client
    )


def write_certificates(folder: Path, *names: str) -> None:
    """Write ``authority.pem``, and ``server.pem`` and ``client.pem`` that it vouches for.

    The latter two hold a key, as Java reads it too, and its certificate. The server's is for
    these names.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued = {
        "server.pem": authority.issue_cert(*names),
        "client.pem": authority.issue_cert("client.test"),
    }
    for name, certificate in issued.items():
        key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
        parts = [
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            *(each.bytes() for each in certificate.cert_chain_pems),
        ]
        (folder / name).write_bytes(b"".join(parts))
