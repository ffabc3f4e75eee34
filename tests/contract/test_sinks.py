"""What every sink of a kind promises. Each passes this suite unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.codecs.json import decode_event
from broker.event import Event
from cemesh.testing.contract.sinks import *  # noqa: F403
from cemesh.testing.contract.sinks import Downstream
from sinks.file import FileSink, FileSinkSpec
from sinks.job import JobSink, JobSinkSpec
from tests.contract.kafka_topics import TopicOfKafka, new_topic
from tests.contract.mqtt import ServerOfTopics
from tests.contract.postgresql import RowsOfEvents
from tests.contract.rabbitmq_queues import QueueOfRabbitmq
from tests.contract.redis_streams import StreamOfRedis
from tests.contract.s3 import BucketOfEvents
from tests.contract.webhooks import RequestsOfATemplate
from tests.services.postgresql.fixtures import Database
from tests.services.relay import Relay
from tests.services.s3.fixtures import GivenBucket
from tests.services.subscribers import Subscriber


class FoldersOfJobs:
    """The folder of the jobs of a JobSink, which can be taken away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        pod = {"containers": [{"command": ["true"]}]}
        self.sink: object = JobSink
        self.spec: object = JobSinkSpec.model_validate(
            {"job": {"spec": {"template": {"spec": pod}}}, "folder": str(folder / "jobs")}
        )

    async def arrived(self, count: int) -> Sequence[Event]:
        ended = (self._folder / "jobs").glob("*/exit")
        return [decode_event(each.with_name("event.json").read_bytes()) for each in ended]

    @contextmanager
    def outage(self) -> Iterator[None]:
        with taken_away(self._folder):
            yield


class LinesOfAFile:
    """A file in a folder that can be taken away."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.jsonl"
        self.sink: object = FileSink
        self.spec: object = FileSinkSpec.model_validate({"path": str(self._path)})

    async def arrived(self, count: int) -> Sequence[Event]:
        return [decode_event(line) for line in self._path.read_bytes().splitlines()]

    @contextmanager
    def outage(self) -> Iterator[None]:
        with taken_away(self._path.parent):
            yield


@contextmanager
def taken_away(folder: Path) -> Iterator[None]:
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("not a folder")
    yield
    folder.unlink()
    away.rename(folder)


@pytest.fixture(
    params=["file", "job", "kafka", "mqtt", "postgresql", "rabbitmq", "redis", "s3", "webhook"]
)
def downstream(request: pytest.FixtureRequest) -> Downstream:
    found: Downstream = request.getfixturevalue(f"{request.param}_downstream")
    return found


@pytest.fixture
async def postgresql_downstream(postgresql: Database, postgresql_relay: Relay) -> Downstream:
    return await RowsOfEvents.made(postgresql, postgresql_relay)


@pytest.fixture
def file_downstream(tmp_path: Path) -> Downstream:
    folder = tmp_path / "folder"
    folder.mkdir()
    return LinesOfAFile(folder)


@pytest.fixture
async def kafka_downstream(kafka: str, kafka_relay: Relay) -> Downstream:
    return TopicOfKafka(kafka, kafka_relay, await new_topic(kafka))


@pytest.fixture
def job_downstream(tmp_path: Path) -> Downstream:
    folder = tmp_path / "folder"
    folder.mkdir()
    return FoldersOfJobs(folder)


@pytest.fixture
def mqtt_downstream(mqtt: str, mqtt_relay: Relay) -> Downstream:
    return ServerOfTopics(mqtt, mqtt_relay)


@pytest.fixture
async def rabbitmq_downstream(rabbitmq: str, rabbitmq_relay: Relay) -> Downstream:
    return await QueueOfRabbitmq.made(rabbitmq, rabbitmq_relay)


@pytest.fixture
def redis_downstream(redis_url: str, redis_relay: Relay) -> Downstream:
    return StreamOfRedis(redis_url, redis_relay)


@pytest.fixture
def s3_downstream(s3_bucket: GivenBucket, s3_relay: Relay) -> Downstream:
    return BucketOfEvents(s3_bucket, s3_relay)


@pytest.fixture
async def webhook_downstream() -> AsyncIterator[Downstream]:
    async with Subscriber() as subscriber:
        yield RequestsOfATemplate(subscriber)
