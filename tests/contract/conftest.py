from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.harness import (
    EmbeddedHarness,
    Harness,
    KafkaHarness,
    MemoryHarness,
    RabbitmqHarness,
    options,
)
from tests.services.kafka import fixtures as kafka
from tests.services.rabbitmq import fixtures as rabbitmq


@pytest.fixture(params=["embedded", "kafka", "memory", "rabbitmq"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    given = options(tmp_path / "data")
    if request.param == "memory":
        return MemoryHarness(given)
    if request.param == "embedded":
        return EmbeddedHarness(given)
    # Only here, so that no server is started for the others.
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq")
        is_ours = not os.environ.get(rabbitmq.GIVEN)
        relay = request.getfixturevalue("rabbitmq_relay") if is_ours else None
        return RabbitmqHarness(given, url, relay)
    if os.environ.get(kafka.GIVEN):
        return KafkaHarness(given, request.getfixturevalue("kafka"))
    relay = request.getfixturevalue("kafka_relay")
    return KafkaHarness(given, relay.address, relay)
