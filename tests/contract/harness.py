"""What the channel contract needs of a backend: restarts, and a store that can go away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from broker.channels.embedded import EmbeddedBackend
from broker.channels.kafka import KafkaBackend
from broker.channels.memory import MemoryBackend
from broker.channels.rabbitmq.backend import RabbitmqBackend
from broker.ports import Backend, BackendOptions
from cemesh.testing.contract.harness import BROKER, Harness, running
from tests.services.relay import Relay

__all__ = ["BROKER", "Harness", "running"]


class MemoryHarness:
    def __init__(self, options: BackendOptions) -> None:
        self._backend = MemoryBackend(options)

    def backend(self) -> Backend:
        return self._backend

    @contextmanager
    def outage(self) -> Iterator[None]:
        self._backend.outage = "the memory was taken away"
        yield
        self._backend.outage = None


class EmbeddedHarness:
    def __init__(self, options: BackendOptions) -> None:
        self._options = options

    def backend(self) -> Backend:
        return EmbeddedBackend.from_url("sqlite:", self._options)

    @contextmanager
    def outage(self) -> Iterator[None]:
        folder = Path(self._options.data_dir)
        gone = folder.with_name("gone")
        folder.rename(gone)
        yield
        gone.rename(folder)


class KafkaHarness:
    """A broker's topics on the server at ``address``, under names that no other test has.

    ``relay`` is what stands before that server, or None where nothing does that could be cut.
    """

    def __init__(self, options: BackendOptions, address: str, relay: Relay | None = None) -> None:
        self._options = options
        self._relay = relay
        name = f"contract-{uuid4()}-{{{{ .Name }}}}"
        config = {
            "default.topic.partitions": "3",
            "default.topic.replication.factor": "1",
            "brokers.topic.template": name,
            "triggers.consumergroup.template": name,
        }
        self._url = f"kafka://{address}?{urlencode(config)}"

    def backend(self) -> Backend:
        return KafkaBackend.from_url(self._url, self._options)

    def outage(self) -> AbstractContextManager[None]:
        if self._relay is None:
            pytest.skip("it cuts a server off, and CEMESH_TEST_KAFKA gives one that others use")
        return self._relay.cut()


class RabbitmqHarness:
    """A broker on the server at ``url``, in a virtual host that no other test has.

    ``relay`` is what stands before that server, or None where nothing does that could be cut.
    """

    def __init__(self, options: BackendOptions, url: str, relay: Relay | None = None) -> None:
        self._options = options
        self._relay = relay
        self._url = url if relay is None else relay.in_url(url)

    def backend(self) -> Backend:
        return RabbitmqBackend.from_url(self._url, self._options)

    def outage(self) -> AbstractContextManager[None]:
        if self._relay is None:
            pytest.skip("it cuts a server off, and CEMESH_TEST_RABBITMQ gives one that others use")
        return self._relay.cut()


def options(data_dir: Path) -> BackendOptions:
    return BackendOptions(
        data_dir=str(data_dir), retention_age=timedelta(days=7), retention_bytes=1 << 30
    )
