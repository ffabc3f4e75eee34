"""Redis as a process of its own.

    with RedisServer(tmp_path, program) as redis:
        ...  # at redis.listeners.url
        redis.kill()
        redis.start()

Everything here blocks: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.certificates import write_certificates
from tests.services.mesh import HOST, free_ports
from tests.services.server import Leashed, Server

USER: Final = "mesh"
PASSWORD: Final = "mesh-secret"
READER: Final = "reader"
"""A user with the same password, who may read the server's state and no stream."""

_QUESTION: Final = b"PING\r\n"
_ANSWER: Final = b"+PONG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Where a server listens, each as ``host:port``, and the folder of its certificates and log.

    Anybody may do everything, and so may USER with PASSWORD. ``tls`` wants a client's certificate.
    """

    plain: str
    tls: str
    folder: str

    @property
    def url(self) -> str:
        return f"redis://{self.plain}"

    @property
    def log(self) -> Path:
        return Path(self.folder, "redis.log")


class RedisServer(Server):
    """A Redis that has on disk what it has answered, running while this is entered.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise. ``settings`` are more lines of its file.
    """

    def __init__(
        self, folder: Path, program: Path, *, owner: int | None = None, settings: str = ""
    ) -> None:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        plain, tls = free_ports(2)
        self.listeners = Listeners(plain=f"{HOST}:{plain}", tls=f"{HOST}:{tls}", folder=str(folder))
        write_certificates(folder, HOST, "localhost")
        Path(folder, "redis.conf").write_text(
            f"bind {HOST}\nport {plain}\ntls-port {tls}\ndir {folder}\n"
            f"tls-cert-file {folder}/server.pem\ntls-key-file {folder}/server.pem\n"
            f"tls-ca-cert-file {folder}/authority.pem\ntls-auth-clients yes\n"
            'appendonly yes\nappendfsync always\nsave ""\ndaemonize no\n'
            "repl-diskless-sync-delay 0\n"
            f"user {USER} on >{PASSWORD} ~* &* +@all\n"
            f"user {READER} on >{PASSWORD} ~* &* +ping +xinfo +client\n{settings}\n"
        )
        super().__init__("Redis", self.listeners.log)
        self._command = [str(program), f"{folder}/redis.conf"]
        self._process = Leashed("Redis", self.listeners.log, owner=owner or os.getpid())

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
        return answers(self.listeners.plain)


def answers(address: str) -> bool:
    """Return whether a Redis answers at ``host:port``, that has loaded its data."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(_QUESTION)
            return connection.recv(len(_ANSWER)) == _ANSWER
    except OSError:
        return False
