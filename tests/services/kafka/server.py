"""Apache Kafka as a process of its own.

    with KafkaServer(tmp_path, distribution) as kafka:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.listeners.plaintext)
        ...
        kafka.kill()
        kafka.start()

Everything here blocks, for seconds: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.services.kafka.distribution import Distribution
from tests.services.kafka.settings import (
    PASSWORD,
    PORTS,
    SASL_MECHANISMS,
    USER,
    write_settings,
)
from tests.services.mesh import free_ports
from tests.services.server import Leashed, Server, listened_to

# ApiVersions, version 0, without a client id: what every client asks first.
_QUESTION: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_ANSWER: Final = struct.pack(">ih", 1, 0)


class KafkaServer(Server):
    """One node of Kafka, broker and controller, running while this is entered.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise. Its ports are free ones, or PORTS from ``first_port`` on,
    and free ones for as many ``relays``.
    """

    def __init__(
        self,
        folder: Path,
        distribution: Distribution,
        *,
        owner: int | None = None,
        first_port: int | None = None,
        relays: int = 0,
    ) -> None:
        self._folder = folder.resolve()
        self._distribution = distribution
        free = free_ports(PORTS + 2 * relays)
        ports = free[:PORTS] if first_port is None else range(first_port, first_port + PORTS)
        relayed = dict(zip(free[PORTS::2], free[PORTS + 1 :: 2], strict=True))
        self.listeners = write_settings(self._folder, ports, relayed)
        super().__init__("Kafka", self.listeners.log)
        self._process = Leashed("Kafka", self.listeners.log, owner=owner or os.getpid())

    @property
    def address(self) -> str:
        """The listener without any security, as ``host:port``."""
        return self.listeners.plaintext

    def start(self, *, within: float = 45) -> None:
        """Start the process and return once it answers; it may have to be formatted first.

        Raises:
            RuntimeError: It ended, or did not answer ``within`` so many seconds.
        """
        deadline = time.monotonic() + within
        if not Path(self._folder, "data", "meta.properties").exists():
            self._format()
        self._process.start(self._java("kafka.Kafka", f"{self._folder}/server.properties"))
        try:
            self._process.wait_until(self._answers, deadline=deadline)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within: float = 20) -> None:
        self._process.stop(within=within)

    def kill(self) -> None:
        self._process.kill(lambda process: self._distribution.kill(process, self._folder))

    def wait(self) -> int:
        """Return the exit code once the process has ended by itself."""
        return self._process.wait()

    def _java(self, name: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._folder}/log4j2.properties"
        return [*self._distribution.java(self._folder), logging, name, *arguments]

    def _format(self) -> None:
        cluster = "cemesh-kafka-for-tests"
        users = [
            f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]"
            for mechanism in SASL_MECHANISMS
            if mechanism.startswith("SCRAM-")
        ]
        options = (f"--config={self._folder}/server.properties", f"--cluster-id={cluster}")
        finished = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", *options, *users),
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            said = f"{finished.stdout}{finished.stderr}"
            raise RuntimeError(f"Kafka did not format {self._folder}/data:\n{said}")

    def _answers(self) -> bool:
        return answers(self.address) and all(map(listened_to, self.listeners.addresses()))


def answers(address: str) -> bool:
    """Return whether a Kafka without security answers at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(_QUESTION)
            with connection.makefile("rb") as answer:
                return answer.read(10)[4:] == _ANSWER
    except OSError:
        return False
