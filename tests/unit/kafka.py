"""A channel for the classes Kafka and RabbitMQBroker that only checks what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from broker.channels.kafka import settings
from broker.ports import Fault


class Kafka:
    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return settings.check(broker, config, secret)


class RabbitMQ:
    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return ()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install both as a distribution in ``folder``."""
    info = folder / "stand_ins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand_ins\nVersion: 1.0\n")
    points = [f"kafka = {__name__}:Kafka", f"amqp = {__name__}:RabbitMQ"]
    (info / "entry_points.txt").write_text("\n".join(["[cemesh.channels]", *points]))
    monkeypatch.syspath_prepend(folder)
