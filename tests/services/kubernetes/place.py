"""Where an API server is, and the files by which clients and tests get in."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.services.certificates import write_certificates
from tests.services.mesh import HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An API server at ``url``, whose certificate is vouched for by ``authority``.

    ``token`` is that of a user who may do everything. ``etcd`` is where its store is, as
    ``host:port``, and ``folder`` takes all of its files.
    """

    url: str
    etcd: str
    token: str
    folder: str

    @property
    def authority(self) -> Path:
        """The authority's certificate, as PEM."""
        return Path(self.folder, "authority.pem")

    @property
    def log(self) -> Path:
        """All that the API server has printed."""
        return Path(self.folder, "kube-apiserver.log")

    @property
    def tokens(self) -> Path:
        """Who may get in by a token that never changes, as the server reads it."""
        return Path(self.folder, "tokens.csv")

    @property
    def signing_key(self) -> Path:
        """What the tokens of service accounts are signed with, as PEM."""
        return Path(self.folder, "accounts.pem")


def write_place(folder: Path, port: int, etcd: int) -> Place:
    """Write all that the server reads, with credentials that no other server has."""
    folder.mkdir(parents=True, exist_ok=True)
    write_certificates(folder, HOST, "localhost", "kubernetes.default.svc")
    place = Place(
        url=f"https://{HOST}:{port}",
        etcd=f"{HOST}:{etcd}",
        token=secrets.token_urlsafe(),
        folder=str(folder),
    )
    place.tokens.write_text(f'{place.token},admin,admin,"system:masters"\n')
    key = generate_private_key(public_exponent=65537, key_size=2048)
    place.signing_key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return place


def expired(token: str, place: Place) -> str:
    """Return the token of a service account as it was an hour ago, and is no longer valid."""
    head, body, _ = token.split(".")
    claims = json.loads(_unpacked(body))
    ended = int(time.time()) - 3600
    claims |= {"exp": ended, "iat": ended - 3600, "nbf": ended - 3600}
    signed = f"{head}.{_packed(json.dumps(claims).encode())}"
    key = load_pem_private_key(place.signing_key.read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return f"{signed}.{_packed(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
