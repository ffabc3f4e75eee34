"""A certificate authority of one's own, for tests over TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate and its key, as PEM, its serial number as `openssl` prints it, and its end."""

    certificate: bytes
    key: bytes
    serial: str
    expires: datetime


class Authority:
    """One that issues as many certificates as a test needs, each time another."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def issue(
        self, *names: str, subject: str | None = None, valid_for: timedelta | None = None
    ) -> Issued:
        """Issue one for these names, localhost if there are none; ``subject`` is its CN."""
        issued = self._ca.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            common_name=subject,
            not_after=None if valid_for is None else datetime.now(UTC) + valid_for,
        )
        certificate = b"".join(each.bytes() for each in issued.cert_chain_pems)
        found = load_pem_x509_certificate(certificate)
        number = f"{found.serial_number:X}"
        return Issued(
            certificate=certificate,
            key=issued.private_key_pem.bytes(),
            serial=number.zfill(len(number) + len(number) % 2),  # whole bytes
            expires=found.not_valid_after_utc,
        )


class SecretVolume:
    """A folder as Kubernetes mounts a Secret: its files are links that lead over another link.

    That one, ``..data``, is what changes, so that all files change at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0
        folder.mkdir(parents=True)

    def put(self, issued: Issued, authority: bytes) -> None:
        """Have it hold that certificate and its key, and the authority of clients."""
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir()
        files = {"tls.crt": issued.certificate, "tls.key": issued.key, "ca.crt": authority}
        for name, content in files.items():
            (version / name).write_bytes(content)
        next_one = self.folder / "..data_tmp"
        next_one.symlink_to(version.name)
        next_one.rename(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data", name))

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"


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
