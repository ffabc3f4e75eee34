"""RabbitMQ as a process of its own.

    with RabbitMQServer(tmp_path, distribution) as rabbitmq:
        connection = await aio_pika.connect(rabbitmq.listeners.url())
        ...
        rabbitmq.kill()
        rabbitmq.start()

Everything here blocks, for seconds: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.services.mesh import free_ports
from tests.services.rabbitmq.distribution import Distribution
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.settings import (
    DISK_LIMIT,
    MEMORY_WATERMARK,
    PORTS,
    environment,
    write_settings,
)
from tests.services.server import Leashed, Server, listened_to

# What every client says first, and the first byte of the frame that the server answers.
_QUESTION: Final = b"AMQP\x00\x00\x09\x01"
_ANSWER: Final = b"\x01"


class RabbitMQServer(Server):
    """One node of RabbitMQ, running while this is entered.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise. Its ports are free ones, or PORTS from ``first_port`` on.
    """

    def __init__(
        self,
        folder: Path,
        distribution: Distribution,
        *,
        owner: int | None = None,
        first_port: int | None = None,
    ) -> None:
        self.folder: Final = folder.resolve()
        self._distribution = distribution
        ports = free_ports(PORTS) if first_port is None else range(first_port, first_port + PORTS)
        self.listeners = write_settings(self.folder, ports)
        self.management = Management(self.listeners.management)
        self._environment = environment(self.listeners)
        super().__init__("RabbitMQ", self.listeners.log)
        owner = owner or os.getpid()
        self._epmd = Leashed("epmd", Path(self.folder, "epmd.log"), owner=owner)
        self._node = Leashed("RabbitMQ", self.listeners.log, owner=owner)

    @property
    def address(self) -> str:
        """The listener without TLS, as ``host:port``."""
        return self.listeners.amqp

    def start(self, *, within: float = 45) -> None:
        deadline = time.monotonic() + within
        epmd = self._distribution.epmd(self._environment)
        try:
            # Where there is none yet, the node would start one that nobody ends.
            if epmd:
                self._epmd.start(epmd)
                self._epmd.wait_until(lambda: listened_to(self.listeners.epmd), deadline=deadline)
            self._node.start(
                self._distribution.server(self.folder, self._environment), folder=self.folder
            )
            self._node.wait_until(self._answers, deadline=deadline)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within: float = 20) -> None:
        self._node.stop(within=within)
        self._epmd.kill()

    def kill(self) -> None:
        self._node.kill(lambda process: self._distribution.kill(process, self.folder))
        self._epmd.kill()

    def wait(self) -> int:
        """Return the exit code once the process has ended by itself."""
        return self._node.wait()

    def ctl(self, *arguments: str) -> str:
        """Return what ``rabbitmqctl`` prints of these arguments; it takes a second or two.

        Raises:
            RuntimeError: It failed; the message has what it printed.
        """
        command = self._distribution.ctl(self.folder, self._environment)
        finished = subprocess.run(
            [*command, "--quiet", *arguments], capture_output=True, text=True, check=False
        )
        if finished.returncode != 0:
            said = f"{finished.stdout}{finished.stderr}"
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {said}")
        return finished.stdout

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Have too little memory while the context lasts: whoever publishes is held up."""
        self.ctl("set_vm_memory_high_watermark", "0")
        try:
            yield
        finally:
            self.ctl("set_vm_memory_high_watermark", MEMORY_WATERMARK)

    @contextmanager
    def disk_alarm(self) -> Iterator[None]:
        """Have too little room on disk while the context lasts: whoever publishes is held up."""
        self.ctl("set_disk_free_limit", "1000000GB")
        try:
            yield
        finally:
            self.ctl("set_disk_free_limit", DISK_LIMIT)

    def _answers(self) -> bool:
        return (
            answers(self.address)
            and all(map(listened_to, self.listeners.addresses()))
            and self.management.answers()
        )


def answers(address: str) -> bool:
    """Return whether a RabbitMQ answers without TLS at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(_QUESTION)
            return connection.recv(1) == _ANSWER
    except OSError:
        return False
