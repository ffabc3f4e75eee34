"""A channel for the class RabbitMQBroker, of which there is as much as the manifests ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from broker.channels.rabbitmq.settings import check
from broker.ports import Fault


class RabbitMQ:
    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return check(config, secret)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install it as a distribution in ``folder``."""
    info = folder / "stand_ins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand_ins\nVersion: 1.0\n")
    points = f"[cemesh.channels]\namqp = {__name__}:RabbitMQ\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(folder)
