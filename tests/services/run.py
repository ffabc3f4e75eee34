"""One run of pytest: its folder, its workers, and what they share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from tests.services.locks import locked

_Shared = TypeVar("_Shared")


def asks(item: pytest.Item, service: str) -> bool:
    """Return whether a test asks for the service.

    By the name of a fixture, by its own, or by that of a parameter that stands for one.
    """
    names = getattr(item, "fixturenames", [])
    return service in item.name or any(name.startswith(service) for name in names)


def worker(config: pytest.Config) -> str:
    """Return the name of the worker that this is, like gw0; or nothing, where there are none."""
    name: str = getattr(config, "workerinput", {}).get("workerid", "")
    return name


def owner(config: pytest.Config) -> int:
    """Return the id of the process that ends when the run does, which a worker may not see."""
    return os.getppid() if worker(config) else os.getpid()


def folder_of_the_run(factory: pytest.TempPathFactory, config: pytest.Config) -> Path:
    """Return the temporary folder that all workers of the run have in common."""
    folder = factory.getbasetemp()
    return folder.parent if worker(config) else folder


def shared(record: Path, kind: type[_Shared], start: Callable[[], _Shared]) -> _Shared:
    """Return what ``start`` has returned in the first worker that came; the record hands it on."""
    with locked(record.with_suffix(".lock")):
        if not record.exists():
            record.write_bytes(msgspec.json.encode(start()))
    return msgspec.json.decode(record.read_bytes(), type=kind)
