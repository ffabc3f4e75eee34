from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.ports import BackendOptions
from tests.contract.harness import EmbeddedHarness, Harness, MemoryHarness, options

HARNESSES: dict[str, Callable[[BackendOptions], Harness]] = {
    "memory": MemoryHarness,
    "embedded": EmbeddedHarness,
}


@pytest.fixture(params=sorted(HARNESSES))
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    return HARNESSES[request.param](options(tmp_path / "data"))
