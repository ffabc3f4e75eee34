"""How many workers `make test` has, and what they do first, as a plug-in of pytest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

_FOLDERS: Final = ("e2e", "contract", "property", "unit", "conformance")
"""Those whose tests take longest come first."""

_LONGEST: Final = (
    "test_scale_out.py",
    "test_kafka_producing.py",
    "test_channel.py",
    "test_rabbitmq_service.py",
    "test_kafka_stores.py",
    "test_kafka_processes.py",
    "test_kafka_service.py",
    "test_embedded_bookkeeping.py",
    "test_cli_plan.py",
)
"""Files that take half a minute or more: a worker that began one last would be waited for."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return twice the number of processors: half of the time, tests wait for others."""
    # Not everywhere can be asked which of them this process may use.
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 2 * (mine or 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.path))


def _turn(file: Path) -> tuple[int, int]:
    """Return what to sort files by; those with the same stay as they were collected."""
    longest = _LONGEST.index(file.name) if file.name in _LONGEST else len(_LONGEST)
    folder = file.parent.name
    return longest, _FOLDERS.index(folder) if folder in _FOLDERS else len(_FOLDERS)
