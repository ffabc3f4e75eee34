"""The programs for any test that asks for them, as a plug-in of pytest.

A test says which by the names of its fixtures. It waits until they are built, before its own time
begins, and runs after all tests that need none: `make test` builds them meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.services.kubernetes.build import BIN, KEPT, PROGRAMS, is_built
from tests.services.missing import Missing
from tests.services.run import owner
from tests.services.server import Leashed

_BUILT_WITHIN: Final = 900  # seconds
_ENDING: Final = 30  # seconds

_ASKED_BY: Final[Mapping[str, Sequence[str]]] = {
    "helm": ("helm",),
    "kubernetes_programs": ("etcd", "kube-apiserver"),
}
"""By the name of a fixture."""

_MISSING: Final = pytest.StashKey[dict[str, Missing]]()


def program(name: str, config: pytest.Config) -> Path:
    """Return the program, or skip the test that asks."""
    missing = config.stash[_MISSING].get(name)
    if missing is not None:
        pytest.skip(missing.reason)
    assert is_built(name), f"{name} is not built: does the test ask for it by a fixture?"
    return BIN / name


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MISSING] = {}


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    yield  # whatever order others have in mind
    last: dict[Path, int] = {}
    order = list(PROGRAMS)
    for item in items:
        turns = [order.index(name) + 1 for name in _asked_for(item)]
        last[item.path] = max([last.get(item.path, 0), *turns])
    items.sort(key=lambda item: last[item.path])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before a test's time is taken
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    found = item.config.stash[_MISSING]
    for name in _asked_for(item):
        if name not in found and not is_built(name):
            missing = _wait_for(name, item.config)
            if missing is not None:
                found[name] = missing
    return (yield)


def _asked_for(item: pytest.Item) -> list[str]:
    fixtures = getattr(item, "fixturenames", [])
    return [name for fixture in fixtures for name in _ASKED_BY.get(fixture, ())]


def _wait_for(name: str, config: pytest.Config) -> Missing | None:
    """Return once the program is built, by whoever builds; or why it is not."""
    KEPT.mkdir(parents=True, exist_ok=True)
    building = Leashed("its build", KEPT / "build.log", owner=owner(config))
    root = Path(__file__).parents[3]
    building.start([sys.executable, "-m", "tests.services.kubernetes.build", name], folder=root)
    try:
        building.wait_until(lambda: is_built(name), deadline=time.monotonic() + _BUILT_WITHIN)
    except RuntimeError as error:
        return None if is_built(name) else Missing(reason=f"no {name} to test with: {error}")
    finally:
        try:
            building.stop(within=_ENDING)
        except subprocess.TimeoutExpired:
            building.kill()
    return None
