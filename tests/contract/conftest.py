from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.harness import EmbeddedHarness, Harness, KafkaHarness, MemoryHarness, options
from tests.services.kafka.fixtures import GIVEN


@pytest.fixture(params=["embedded", "kafka", "memory"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    given = options(tmp_path / "data")
    if request.param == "memory":
        return MemoryHarness(given)
    if request.param == "embedded":
        return EmbeddedHarness(given)
    # Only here, so that no server is started for the others.
    if os.environ.get(GIVEN):
        return KafkaHarness(given, request.getfixturevalue("kafka"))
    relay = request.getfixturevalue("kafka_relay")
    return KafkaHarness(given, relay.address, relay)
