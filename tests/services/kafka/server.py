"""Apache Kafka as a process of its own.

    with KafkaServer(tmp_path, distribution) as kafka:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.listeners.plaintext)
        ...
        kafka.kill()
        kafka.start()

Settings, certificates, ports, data and log outlive the process, so that what is started again
is the same server. Everything here blocks, for seconds: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

from tests.services.kafka.distribution import Distribution
from tests.services.kafka.settings import (
    PASSWORD,
    PORTS,
    SASL_MECHANISMS,
    USER,
    write_settings,
)
from tests.services.mesh import free_port

_LEASH: Final = Path(__file__).with_name("leash.py")

# ApiVersions, version 0, without a client id: what every client asks first.
_QUESTION: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_ANSWER: Final = struct.pack(">ih", 1, 0)


class KafkaServer:
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
        self._owner = owner or os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        ports = [
            free_port() if first_port is None else first_port + index for index in range(PORTS)
        ]
        relayed = {free_port(): free_port() for _ in range(relays)}
        self.listeners = write_settings(self._folder, ports, relayed)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
        if error is not None:
            error.add_note(log_end(self.listeners.log))

    @property
    def address(self) -> str:
        """The listener without any security, as ``host:port``."""
        return self.listeners.plaintext

    def start(self, *, within: float = 45) -> None:
        """Start the process and return once it answers; it may have to be formatted first.

        Raises:
            RuntimeError: It ended, or did not answer ``within`` so many seconds.
        """
        assert self._process is None, "it is running"
        deadline = time.monotonic() + within
        if not Path(self._folder, "data", "meta.properties").exists():
            self._format()
        leash = (sys.executable, "-I", "-S", str(_LEASH), str(self._owner))
        with self.listeners.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, *self._java("kafka.Kafka", f"{self._folder}/server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt is for the tests
            )
        try:
            self._wait_until_it_answers(deadline)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within: float = 20) -> None:
        """Let the process end in order and return once it has; raise TimeoutExpired if not."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(within)
            self._process = None

    def kill(self) -> None:
        """End the process as a crash would, and return once it is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                self._distribution.kill(self._process, self._folder)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Let the process end in order and start it again."""
        self.stop()
        self.start()

    def wait(self) -> int:
        """Return the exit code once the process has ended by itself."""
        assert self._process is not None, "it is not running"
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

    def _wait_until_it_answers(self, deadline: float) -> None:
        assert self._process is not None
        while not (answers(self.address) and all(map(listened_to, self.listeners.addresses()))):
            if self._process.poll() is not None:
                code = self._process.returncode
                raise RuntimeError(
                    f"Kafka ended with {code} before it answered\n{log_end(self.listeners.log)}"
                )
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka does not answer\n{log_end(self.listeners.log)}")
            time.sleep(0.05)


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


def listened_to(address: str) -> bool:
    """Return whether anything listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def log_end(log: Path) -> str:
    """Return the last lines of a server's log."""
    lines = log.read_text(errors="backslashreplace").splitlines()[-40:]
    return "\n".join(["--- the end of what Kafka printed", *lines, "---"])
