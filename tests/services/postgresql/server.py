"""PostgreSQL as a process of its own.

    with PostgresqlServer(tmp_path, distribution) as server:
        await asyncpg.connect(server.place.admin("postgres"))
        ...
        server.kill()
        server.start()

Everything here blocks, for seconds: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.certificates import write_certificates
from tests.services.mesh import HOST, free_port
from tests.services.postgresql.distribution import Distribution
from tests.services.server import Leashed, Server, log_end

ADMIN: Final = "admin"
PASSWORD: Final = "mesh-secret"

CERTIFIED: Final = "client.test"
"""The role that gets in with the client's certificate and PASSWORD alone."""

TLS_ONLY: Final = "tls_only"
"""The role that gets in over TLS alone, by PASSWORD."""

_SETTINGS: Final = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
ssl = on
ssl_ca_file = '{folder}/authority.pem'
ssl_cert_file = '{folder}/server.pem'
ssl_key_file = '{folder}/server.pem'
shared_buffers = 16MB
max_connections = 60
log_checkpoints = off
"""

_ACCESS: Final = f"""\
hostssl all {CERTIFIED} {HOST}/32 scram-sha-256 clientcert=verify-ca
hostssl all {TLS_ONLY} {HOST}/32 scram-sha-256
host all {CERTIFIED},{TLS_ONLY} {HOST}/32 reject
host all all {HOST}/32 scram-sha-256
"""

# What a server asks a client that offers TLS: one byte, S.
_QUESTION: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"

_LEFT_BEHIND: Final = ("shared memory block", "is still in use")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server listens, as ``host:port``, and the folder of its certificates and log.

    ADMIN may do everything, with PASSWORD, with TLS and without it.
    """

    address: str
    folder: str

    def url(self, database: str) -> str:
        return f"postgresql://{self.address}/{database}"

    def admin(self, database: str = "postgres") -> str:
        """Return the URL of a database for ADMIN, password and all."""
        return f"postgresql://{ADMIN}:{PASSWORD}@{self.address}/{database}"

    @property
    def authority(self) -> str:
        """The authority's certificate, as PEM."""
        return Path(self.folder, "authority.pem").read_text()

    @property
    def client(self) -> tuple[str, str]:
        """The client's private key and its certificate, as PEM."""
        text = Path(self.folder, "client.pem").read_text()
        key, begin, certificate = text.partition("-----BEGIN CERT")
        return key, begin + certificate

    @property
    def log(self) -> Path:
        return Path(self.folder, "postgresql.log")


class PostgresqlServer(Server):
    """One cluster, on loopback and a free port, that runs while this is entered.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise. What it says is committed is on disk: nothing that makes it
    faster makes it forget.
    """

    def __init__(
        self, folder: Path, distribution: Distribution, *, owner: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self._port = free_port()
        self._distribution = distribution
        self.place: Final = Place(address=f"{HOST}:{self._port}", folder=str(self._folder))
        super().__init__("PostgreSQL", self.place.log)
        self._process = Leashed("PostgreSQL", self.place.log, owner=owner or os.getpid())

    def start(self, *, within: float = 45) -> None:
        deadline = time.monotonic() + within
        data = self._folder / "data"
        if not data.exists():
            self._make(data)
        while not self._started(data, deadline):
            time.sleep(0.05)

    def stop(self, *, within: float = 20) -> None:
        # What SIGTERM asks for waits for the clients to go.
        self._process.kill(lambda process: process.send_signal(signal.SIGINT))

    def kill(self) -> None:
        self._process.kill()

    def psql(self, sql: str) -> None:
        """Run SQL as ADMIN, in the database postgres. Raises `CalledProcessError`."""
        command = self._distribution.command("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", sql)
        subprocess.run([*command, self.place.admin()], check=True, capture_output=True)

    def _started(self, data: Path, deadline: float) -> bool:
        """Start it; return False where processes of one that was killed are not gone yet."""
        self._process.start(self._distribution.command("postgres", "-D", str(data)))
        try:
            self._process.wait_until(self._answers, deadline=deadline)
        except BaseException:
            self._process.kill()
            end = log_end("", self.place.log)
            if time.monotonic() < deadline and all(each in end for each in _LEFT_BEHIND):
                return False
            raise
        return True

    def _make(self, data: Path) -> None:
        write_certificates(self._folder, HOST, "localhost")
        Path(self._folder, "server.pem").chmod(0o600)
        secret = Path(self._folder, "password")
        secret.write_text(PASSWORD)
        self._distribution.give(self._folder)
        words = ("-U", ADMIN, f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync")
        command = self._distribution.command("initdb", "-D", str(data), "-A", "trust", *words)
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise RuntimeError(f"initdb: {made.stdout}{made.stderr}")
        told = _SETTINGS.format(host=HOST, port=self._port, folder=self._folder)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(told)
        (data / "pg_hba.conf").write_text(_ACCESS)

    def _answers(self) -> bool:
        """Return whether it lets clients in: before, it tells them that it is starting up."""
        try:
            with socket.create_connection((HOST, self._port), timeout=5) as connection:
                connection.sendall(_QUESTION)
                if connection.recv(1) != b"S":
                    return False
        except OSError:
            return False
        return (self._folder / "data" / "postmaster.pid").read_text().rstrip().endswith("ready")
