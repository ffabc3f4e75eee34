"""What every source promises. Each passes this suite unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.event import Event
from cemesh.testing.contract.sources import *  # noqa: F403
from cemesh.testing.contract.sources import Upstream
from sources.file import FileSource
from sources.file.spec import FileSpec
from tests.contract.mqtt import TopicOfAServer
from tests.contract.postgresql import RowsOfAnOutbox
from tests.contract.rabbitmq_queues import MessagesOfAQueue
from tests.contract.redis_streams import EntriesOfAStream
from tests.services.postgresql.fixtures import Database


class Lines:
    """A file that gets a line for each thing."""

    def __init__(self, path: Path) -> None:
        self.source: object = FileSource
        self.spec: object = FileSpec.model_validate(
            {"path": str(path), "format": "text", "type": "line"}
        )
        self._path = path

    async def bring(self, number: int) -> None:
        with self._path.open("a") as file:
            file.write(f"{number}\n")

    def number_of(self, event: Event) -> int:
        return int(event.data or b"")


@pytest.fixture(params=["file", "mqtt", "postgresql", "rabbitmq", "redis"])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    found: Upstream = request.getfixturevalue(f"{request.param}_upstream")
    return found


@pytest.fixture
def file_upstream(tmp_path: Path) -> Upstream:
    return Lines(tmp_path / "lines")


@pytest.fixture
def mqtt_upstream(mqtt: str) -> Upstream:
    return TopicOfAServer(mqtt)


@pytest.fixture
async def postgresql_upstream(postgresql: Database) -> Upstream:
    return await RowsOfAnOutbox.made(postgresql)


@pytest.fixture
async def rabbitmq_upstream(rabbitmq: str) -> Upstream:
    return await MessagesOfAQueue.made(rabbitmq)


@pytest.fixture
def redis_upstream(redis_url: str) -> Upstream:
    return EntriesOfAStream(redis_url)
