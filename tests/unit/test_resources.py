"""A broker's class and the operator's default choose the backend; the rest is the backend's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.mesh.resources import Resources
from broker.ports import BackendOptions, Emit
from broker.trigger import Broker
from tests.unit.meshes import OPTIONS


class Told(MemoryBackend):
    """Keeps what it is told."""

    def __init__(self, url: str, options: BackendOptions) -> None:
        super().__init__(options)
        self.url = url
        self.brokers: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = []

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> MemoryChannel:
        self.brokers.append((broker, config, secret))
        return await super().channel(broker, config, secret)


def nowhere(broker: str) -> Emit:
    raise NotImplementedError


def resources(channel: str | None) -> Resources:
    return Resources(channel=channel, options=OPTIONS, emit_to=nowhere)


@pytest.mark.parametrize(
    ("default", "asked", "url"),
    [
        (None, None, "sqlite:"),
        (None, "kafka", "kafka:"),
        ("memory:", None, "memory:"),
        ("memory:", "kafka", "kafka:"),
        ("kafka://a:9092", None, "kafka://a:9092"),
        ("Kafka://a:9092", "kafka", "Kafka://a:9092"),
        ("kafka://a:9092", "amqp", "amqp:"),
        ("amqp://a/shop", "amqp", "amqp://a/shop"),
        ("amqps://a/shop", "amqp", "amqps://a/shop"),
        ("amqps://a/shop", "kafka", "kafka:"),
    ],
)
def test_a_class_that_asks_for_the_default_channel_gets_it_with_its_servers(
    default: str | None, asked: str | None, url: str
) -> None:
    assert resources(default).channel_url(Broker(key="default/b", channel=asked)) == url


async def test_a_backend_is_opened_once_and_told_each_brokers_configuration_and_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Told] = []

    class Opening:
        @staticmethod
        def from_url(url: str, options: BackendOptions) -> Told:
            opened.append(Told(url, options))
            return opened[-1]

    monkeypatch.setattr("broker.plugins.channel_backend", lambda scheme: Opening)
    async with resources("told://a") as here:
        await here.channel(Broker(key="default/a", config={"x": "1"}, secret={"y": "2"}))
        await here.channel(Broker(key="default/b", channel="told"))

    assert [each.url for each in opened] == ["told://a"]
    assert opened[0].brokers == [("default/a", {"x": "1"}, {"y": "2"}), ("default/b", {}, {})]


@pytest.mark.parametrize("channel", ["memory:", "sqlite:"])
def test_a_channel_of_one_process_says_so(channel: str) -> None:
    assert not resources(channel).is_shared(Broker(key="default/b"))


@pytest.mark.parametrize("channel", ["kafka://a", "amqp://a", "amqps://a"])
def test_a_channel_of_several_processes_says_so(channel: str) -> None:
    assert resources(channel).is_shared(Broker(key="default/b"))


def test_a_channel_that_does_not_say_is_taken_for_one_that_processes_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent:
        """Has none of it."""

    monkeypatch.setattr("broker.plugins.channel_backend", lambda scheme: Silent)

    assert resources("silent:").is_shared(Broker(key="default/b"))
