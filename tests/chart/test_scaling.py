"""What KEDA would read while events wait, with dispatchers and with none of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from broker.admin.models import StatusDocument
from tests.chart.readings import Metadata, lag, messages
from tests.chart.rendering import rendered, template
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import HOST, RunningMesh
from tests.services.rabbitmq.settings import PASSWORD, USER, Listeners
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.timeout(120)

LATER = "PT20M"
"""When an attempt is made again: not while a test runs."""


class Mesh:
    """An ingress on a channel, dispatchers when they are asked for, and one trigger."""

    def __init__(self, folder: Path, channel: str, subscriber: Subscriber) -> None:
        self.broker = f"b{uuid.uuid4().hex[:8]}"
        self.ingress = self._part("ingress", folder, channel, subscriber)
        self._folder, self._channel, self._subscriber = folder, channel, subscriber
        self._sent = 0

    def dispatcher(self) -> RunningMesh:
        return self._part("dispatcher", self._folder, self._channel, self._subscriber)

    async def send(self, count: int) -> None:
        for _ in range(count):
            self._sent += 1
            sent = event(str(self._sent))
            assert await self.ingress.send(f"default/{self.broker}", sent) == 202

    def _part(self, part: str, folder: Path, channel: str, subscriber: Subscriber) -> RunningMesh:
        text = manifest(
            broker(self.broker),
            trigger(self.broker, subscriber.url("/audit"), broker=self.broker, backoff=LATER),
        )
        return RunningMesh(
            folder / uuid.uuid4().hex,
            text,
            part=part,
            arguments=["--allow-destination", HOST] if part == "dispatcher" else [],
            environment={"CEMESH_CHANNEL": channel},
        )


def triggers(helm: Path, folder: Path, values: Mapping[str, Any]) -> Sequence[Metadata]:
    """Return the `metadata` of what a ScaledObject looks at, to zero."""
    keda = {"enabled": True, "scaleToZero": True, **values.get("keda", {})}
    given = {"crds": {"install": False}, "mode": "split", **values, "keda": keda}
    (scaled,) = rendered(template(helm, given, folder=folder)).all("ScaledObject")
    return [each["metadata"] for each in scaled["spec"]["triggers"]]


async def until(look: Callable[[], Awaitable[int]], wanted: int) -> None:
    """Return once that is what is seen."""
    seen = None
    try:
        async with asyncio.timeout(30):
            while (seen := await look()) != wanted:
                await asyncio.sleep(0.1)
    except TimeoutError as late:
        late.add_note(f"it was {seen} at last")
        raise


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


def on_kafka(kafka: str, folder: Path, subscriber: Subscriber) -> Mesh:
    query = "default.topic.replication.factor=1&default.topic.partitions=2"
    return Mesh(folder, f"kafka://{kafka}?{query}", subscriber)


def watched_on_kafka(helm: Path, folder: Path, kafka: str, mesh: Mesh) -> Sequence[Metadata]:
    values = {
        "channel": {"kafka": {"bootstrapServers": [kafka]}},
        "keda": {"kafka": {"brokers": [f"default/{mesh.broker}"]}},
    }
    return triggers(helm, folder, values)


async def test_on_kafka_what_nobody_has_taken_starts_a_dispatcher(
    helm: Path, kafka: str, tmp_path: Path, subscriber: Subscriber
) -> None:
    mesh = on_kafka(kafka, tmp_path, subscriber)
    behind, undone = watched_on_kafka(helm, tmp_path, kafka, mesh)

    async with mesh.ingress:
        await mesh.send(1)
        assert await lag(behind) == 2, "no dispatcher has been at either partition yet"
        async with mesh.dispatcher():
            await until(lambda: lag(behind), 0)
            await mesh.send(3)
            await subscriber.received_at("/audit", 3)
            await until(lambda: lag(behind), 0)
            await until(lambda: lag(undone), 0)

        await mesh.send(4)
        assert (await lag(behind), await lag(undone)) == (4, 4)
        async with mesh.dispatcher():
            await subscriber.received_at("/audit", 7)
            await until(lambda: lag(behind), 0)
            await until(lambda: lag(undone), 0)


async def test_on_kafka_what_waits_for_its_next_attempt_is_seen_without_a_dispatcher(
    helm: Path, kafka: str, tmp_path: Path, subscriber: Subscriber
) -> None:
    subscriber.answers("/audit", [503])
    mesh = on_kafka(kafka, tmp_path, subscriber)
    behind, undone = watched_on_kafka(helm, tmp_path, kafka, mesh)

    async with mesh.ingress:
        async with mesh.dispatcher():
            await until(lambda: lag(undone), 0)
            await mesh.send(2)
            await subscriber.received_at("/audit", 2)
            await until(lambda: lag(behind), 0)
            await until(lambda: lag(undone), 2)
        assert (await lag(behind), await lag(undone)) == (0, 2)


async def test_on_kafka_what_waits_for_a_trigger_to_go_on_is_seen_without_a_dispatcher(
    helm: Path, kafka: str, tmp_path: Path, subscriber: Subscriber
) -> None:
    mesh = on_kafka(kafka, tmp_path, subscriber)
    _, undone = watched_on_kafka(helm, tmp_path, kafka, mesh)
    dispatcher = mesh.dispatcher()

    async with mesh.ingress:
        async with dispatcher:
            await until(lambda: lag(undone), 0)
            path = f"/api/v1/triggers/default/{mesh.broker}/pause"
            paused = await dispatcher.request(
                "POST",
                path,
                headers={"Content-Type": "application/json"},
                body=b'{"why": "the ledger is being migrated"}',
                port=dispatcher.admin_port,
            )
            assert paused.status == 200, paused
            await dispatcher.until(lambda status: [*states(status)] == ["paused"])
            await mesh.send(2)
            await until(lambda: lag(undone), 2)
        assert await lag(undone) == 2
        async with mesh.dispatcher():
            await until(lambda: lag(undone), 2)
    assert subscriber.received == []


def states(status: StatusDocument) -> Iterator[str]:
    return (trigger.state for broker in status.brokers for trigger in broker.triggers)


def watched_on_rabbitmq(
    helm: Path, folder: Path, url: str, listeners: Listeners
) -> Sequence[Metadata]:
    channel = {
        "host": urlsplit(url).hostname,
        "vhost": unquote(urlsplit(url).path[1:]),
        "userSecret": {"name": "rabbit-default-user"},
    }
    management = {"managementUrl": f"http://{listeners.management}/"}
    values = {"channel": {"rabbitmq": channel}, "keda": {"rabbitmq": management}}
    return triggers(helm, folder, values)


async def test_on_rabbitmq_all_that_is_not_done_is_seen_without_a_dispatcher(
    helm: Path,
    rabbitmq: str,
    rabbitmq_listeners: Listeners,
    tmp_path: Path,
    subscriber: Subscriber,
) -> None:
    subscriber.answers("/audit", [503, 503, 200])
    mesh = Mesh(tmp_path, rabbitmq, subscriber)
    ready, undone = watched_on_rabbitmq(helm, tmp_path, rabbitmq, rabbitmq_listeners)

    async def of(metadata: Metadata) -> int:
        return await asyncio.to_thread(messages, metadata, USER, PASSWORD)

    async with mesh.ingress:
        async with mesh.dispatcher():
            await mesh.send(2)
            await subscriber.received_at("/audit", 2)
            await until(lambda: of(undone), 2)
            await until(lambda: of(ready), 0)
        await until(lambda: of(undone), 2)
        await until(lambda: of(ready), 0)

        await mesh.send(3)
        await until(lambda: of(ready), 3)
        await until(lambda: of(undone), 5)
        async with mesh.dispatcher():
            await subscriber.received_at("/audit", 5)
            await until(lambda: of(ready), 0)
            await until(lambda: of(undone), 2)
