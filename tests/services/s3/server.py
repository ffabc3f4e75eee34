"""VersityGW, which serves a folder as buckets of S3, as a process of its own.

    with S3Server(tmp_path, program) as s3:
        ...  # at s3.listeners.url
        s3.kill()
        s3.start()

Everything here blocks: on an event loop, use a thread.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.certificates import write_certificates
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
    """A VersityGW, running while this is entered, that has on disk what it has answered.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise. ``encrypted`` is for TLS alone, and
    ``options`` are more of its command line.
    """

    def __init__(
        self,
        folder: Path,
        program: Path,
        *,
        owner: int | None = None,
        encrypted: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        folder = folder.resolve()
        for each in ("buckets", "metadata"):
            Path(folder, each).mkdir(parents=True, exist_ok=True)
        [port] = free_ports(1)
        self.listeners = Listeners(
            address=f"{HOST}:{port}", folder=str(folder), encrypted=encrypted
        )
        tls: list[str] = []
        if encrypted:
            write_certificates(folder, HOST, "localhost")
            tls = ["--cert", f"{folder}/server.pem", "--key", f"{folder}/server.pem"]
        super().__init__("VersityGW", self.listeners.log)
        self._command = [
            *(str(program), "--port", self.listeners.address, "--keep-alive", "--quiet", *tls),
            *("--access", ACCESS_KEY, "--secret", SECRET_KEY, *options),
            # Not every file system of a desk has extended attributes.
            *("posix", "--sidecar", f"{folder}/metadata", f"{folder}/buckets"),
        ]
        self._process = Leashed("VersityGW", self.listeners.log, owner=owner or os.getpid())

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
