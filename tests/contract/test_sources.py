"""What every source promises. Each passes this suite unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.event import Event
from cemesh.testing.contract.sources import *  # noqa: F403
from cemesh.testing.contract.sources import Upstream
from sources.directory import DirectorySource, DirectorySpec
from sources.file import FileSource
from sources.file.spec import FileSpec
from tests.contract.mqtt import TopicOfAServer
from tests.contract.objects import ObjectsOfACluster
from tests.contract.postgresql import RowsOfAnOutbox
from tests.contract.rabbitmq_queues import MessagesOfAQueue
from tests.contract.redis_streams import EntriesOfAStream
from tests.contract.s3 import ObjectsOfABucket
from tests.contract.web import ElementsOfAList, MessagesOfAServer, WebSocketServer
from tests.services.apiserver import ApiServer
from tests.services.postgresql.fixtures import Database
from tests.services.s3.fixtures import GivenBucket
from tests.services.subscribers import Subscriber


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


class Files:
    """A folder that gets a file for each thing."""

    def __init__(self, folder: Path, **spec: object) -> None:
        self.source: object = DirectorySource
        quick = {"interval": "PT0.1S", "settledFor": "PT0S", "content": "data"}
        self.spec: object = DirectorySpec.model_validate({"path": str(folder), **quick, **spec})
        self._folder = folder
        folder.mkdir()

    async def bring(self, number: int) -> None:
        unfinished = self._folder / "next.tmp"
        unfinished.write_text(str(number))
        unfinished.rename(self._folder / f"{number}.txt")

    def number_of(self, event: Event) -> int:
        return int(event.data or b"")


@pytest.fixture(
    params=[
        *("directory", "moved", "file", "http", "mqtt", "postgresql", "rabbitmq", "redis"),
        *("apiserver", "s3", "websocket"),
    ]
)
def upstream(request: pytest.FixtureRequest) -> Upstream:
    found: Upstream = request.getfixturevalue(f"{request.param}_upstream")
    return found


@pytest.fixture
async def apiserver_upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    async with ApiServer() as server:
        yield ObjectsOfACluster(server, tmp_path)


@pytest.fixture
def directory_upstream(tmp_path: Path) -> Upstream:
    return Files(tmp_path / "in")


@pytest.fixture
def moved_upstream(tmp_path: Path) -> Upstream:
    return Files(tmp_path / "in", afterwards="move", moveTo=str(tmp_path / "done"))


@pytest.fixture
def file_upstream(tmp_path: Path) -> Upstream:
    return Lines(tmp_path / "lines")


@pytest.fixture
async def http_upstream() -> AsyncIterator[Upstream]:
    async with Subscriber() as server:
        yield ElementsOfAList(server)


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


@pytest.fixture
async def websocket_upstream() -> AsyncIterator[Upstream]:
    async with WebSocketServer(repeats=True) as server:
        yield MessagesOfAServer(server)


@pytest.fixture
def s3_upstream(s3_bucket: GivenBucket) -> Upstream:
    return ObjectsOfABucket(s3_bucket)
