"""What scenarios are measured on: folders, servers, baselines and meshes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlencode

from bench import processes
from bench.machine import CORES, pinned
from bench.measure import Places
from bench.processes import Mesh, Process
from bench.rabbitmq import AS_BY_DEFAULT
from tests.services.kafka import distribution as kafka
from tests.services.kafka.server import KafkaServer
from tests.services.mesh import HOST
from tests.services.missing import Missing
from tests.services.rabbitmq import distribution as rabbitmq
from tests.services.rabbitmq.server import RabbitMQServer
from tests.subscribers.servers import KINDS, find

CHANNELS: Final = ("memory", "embedded", "kafka", "rabbitmq")


class NotHere(Exception):
    """A scenario cannot be measured on this machine; the text says why."""


@dataclass(kw_only=True)
class Stage:
    """Where the scenarios of one run are measured, while it is entered.

    A load goes on for ``seconds`` in each of so many ``rounds``; ``channels`` are those measured.
    What is shared by scenarios is started when the first one asks.
    """

    rounds: int = 3
    seconds: float = 1.0
    quick: bool = False
    channels: Sequence[str] = CHANNELS
    folder: Path = field(init=False)
    _running: ExitStack = field(default_factory=ExitStack, init=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, init=False)

    def __enter__(self) -> Self:
        # Beside the code, as what is in /tmp may be in memory and need no disk to be durable.
        folder = tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd())
        self.folder = Path(self._running.enter_context(folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @cached_property
    def sink(self) -> Process:
        return self._running.enter_context(processes.sink(self.folder))

    @cached_property
    def nginx(self) -> Process:
        program = find(KINDS["nginx"], self.folder)
        if isinstance(program, Missing):
            raise NotHere(program.reason)
        return self._running.enter_context(processes.nginx(self.folder, program))

    @cached_property
    def uvicorn(self) -> Process:
        return self._running.enter_context(processes.uvicorn(self.folder))

    @cached_property
    def minimal(self) -> Process:
        return self._running.enter_context(processes.minimal(self.folder, self.sink.port))

    @cached_property
    def kafka(self) -> KafkaServer:
        found = kafka.find()
        if isinstance(found, Missing):
            raise NotHere(found.reason)
        with pinned(CORES.others):
            return self._running.enter_context(KafkaServer(self.new("kafka"), found))

    @cached_property
    def rabbitmq(self) -> RabbitMQServer:
        found = rabbitmq.find()
        if isinstance(found, Missing):
            raise NotHere(found.reason)
        with pinned(CORES.others):
            server = self._running.enter_context(RabbitMQServer(self.new("rabbitmq"), found))
            server.ctl("eval", AS_BY_DEFAULT)
            return server

    def durable(self) -> Sequence[str]:
        """Return the channels to measure that survive a restart."""
        return [each for each in self.channels if each != "memory"]

    def new(self, what: str) -> Path:
        """Return the path of a folder that is not there yet."""
        return self.folder / f"{what}-{next(self._numbers)}"

    @contextmanager
    def mesh(
        self, channel: str, manifest: str, *, arguments: Sequence[str] = (), spread: bool = False
    ) -> Iterator[Mesh]:
        """Run a mesh on a channel of its own, by that name; ``spread`` over all cores."""
        folder = self.new("mesh")
        with ExitStack() as running:
            url: str | None = None
            if channel == "memory":
                url = "memory:"
            elif channel == "kafka":
                url = self._kafka_url(folder.name)
            elif channel == "rabbitmq":
                vhost = running.enter_context(self.rabbitmq.management.vhost())
                url = self.rabbitmq.listeners.url(vhost)
            mesh = Mesh(folder, manifest, channel=url, arguments=arguments, spread=spread)
            yield running.enter_context(mesh)

    def _kafka_url(self, name: str) -> str:
        query = {
            "default.topic.partitions": "10",
            "default.topic.replication.factor": "1",
            "brokers.topic.template": f"{name}-{{{{ .Name }}}}",
            "triggers.consumergroup.template": f"{name}-{{{{ .Name }}}}",
        }
        return f"kafka://{self.kafka.address}?{urlencode(query)}"

    def subscriber(self, path: str) -> str:
        """Return the URL of a place of the sink."""
        return f"http://{HOST}:{self.sink.port}{path}"

    def places(self, *paths: str) -> Places:
        """Return these places of the sink."""
        return Places(sink=self.sink, paths=paths)
