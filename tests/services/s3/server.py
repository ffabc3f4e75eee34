"""S3Proxy, which serves a folder as buckets of S3, as a process of its own.

    with S3Server(tmp_path, jars) as s3:
        ...  # at s3.listeners.url
        s3.kill()
        s3.start()

Everything here blocks: on an event loop, use a thread.
"""

from __future__ import annotations

import http.client
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificate

from tests.services.certificates import write_certificates
from tests.services.maven import Jars
from tests.services.mesh import HOST, free_ports
from tests.services.server import Leashed, Server, listened_to

ACCESS_KEY: Final = "mesh"
SECRET_KEY: Final = "mesh-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Where a server listens, ``host:port``, and the folder of its certificates and log.

    It knows ACCESS_KEY with SECRET_KEY, and nobody else.
    """

    address: str
    folder: str
    encrypted: bool

    @property
    def url(self) -> str:
        return f"{'https' if self.encrypted else 'http'}://{self.address}"

    @property
    def log(self) -> Path:
        return Path(self.folder, "s3.log")

    @property
    def authority(self) -> str:
        return Path(self.folder, "authority.pem").read_text()


class S3Server(Server):
    """An S3Proxy, running while this is entered, that has on disk what it has answered.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise. ``encrypted`` is for TLS alone.
    """

    def __init__(
        self, folder: Path, jars: Jars, *, owner: int | None = None, encrypted: bool = False
    ) -> None:
        folder = folder.resolve()
        Path(folder, "buckets").mkdir(parents=True, exist_ok=True)
        [port] = free_ports(1)
        self.listeners = Listeners(
            address=f"{HOST}:{port}", folder=str(folder), encrypted=encrypted
        )
        settings = {
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": ACCESS_KEY,
            "s3proxy.credential": SECRET_KEY,
            "jclouds.provider": "filesystem",
            "jclouds.identity": "none",
            "jclouds.credential": "none",
            "jclouds.filesystem.basedir": f"{folder}/buckets",
        }
        if encrypted:
            write_certificates(folder, HOST, "localhost")
            _write_key_store(folder)
            settings["s3proxy.secure-endpoint"] = self.listeners.url
            settings["s3proxy.keystore-path"] = f"{folder}/server.p12"
            settings["s3proxy.keystore-password"] = SECRET_KEY
        else:
            settings["s3proxy.endpoint"] = self.listeners.url
        file = folder / "s3proxy.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        super().__init__("S3Proxy", self.listeners.log)
        self._command = [
            *("env", "LC_ALL=C.UTF-8"),  # in which Java has the names of files, which are keys
            *(*jars.java(folder), "org.gaul.s3proxy.Main", "--properties", str(file)),
        ]
        self._process = Leashed("S3Proxy", self.listeners.log, owner=owner or os.getpid())

    def start(self, *, within: float = 45) -> None:
        self._process.start(self._command)
        try:
            self._process.wait_until(self._answers, deadline=time.monotonic() + within)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within: float = 20) -> None:
        self._process.stop(within=within)

    def kill(self) -> None:
        self._process.kill()

    def _answers(self) -> bool:
        if self.listeners.encrypted:
            return listened_to(self.listeners.address)
        host, _, port = self.listeners.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.FORBIDDEN
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _write_key_store(folder: Path) -> None:
    """Write ``server.p12``, which Java reads, of ``server.pem``."""
    pem = (folder / "server.pem").read_bytes()
    key = load_pem_private_key(pem, password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    store = serialize_key_and_certificates(
        b"server",
        key,
        load_pem_x509_certificate(pem),
        None,
        BestAvailableEncryption(SECRET_KEY.encode()),
    )
    (folder / "server.p12").write_bytes(store)
