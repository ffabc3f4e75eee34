"""Prometheus' `promtool` for any test that asks for it, as a plug-in of pytest.

``promtool`` is the program, which Debian's package `prometheus` brings; the server in it is never
started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.services.programs import Program

_PROGRAM: Final = Program(name="promtool", package="prometheus", purpose="check metrics")


@pytest.fixture(scope="session")
def promtool(pytestconfig: pytest.Config) -> Path:
    """Return the program."""
    return _PROGRAM.of(pytestconfig)


def pytest_collection_finish(session: pytest.Session) -> None:
    _PROGRAM.look(session)
