"""Prometheus' `promtool` for any test that asks for it, as a plug-in of pytest.

``promtool`` is the program, which Debian's package `prometheus` brings; the server in it is never
started.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.services import apt
from tests.services.locks import locked
from tests.services.missing import Missing
from tests.services.run import asks

_PACKAGE: Final = "prometheus"
_LOCK: Final = Path(tempfile.gettempdir(), "cemesh-promtool.lock")
_FOUND: Final = pytest.StashKey[Path | Missing]()


@pytest.fixture(scope="session")
def promtool(pytestconfig: pytest.Config) -> Path:
    """Return the program."""
    found = pytestconfig.stash.get(_FOUND, None) or find()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    # Installing may take longer than a test may.
    if any(asks(each, "promtool") for each in session.items):
        session.config.stash[_FOUND] = find()


def find() -> Path | Missing:
    """Return the program; its package is installed if need be."""
    failure = None
    if shutil.which("promtool") is None:
        with locked(_LOCK):  # whoever comes second waits for whoever installs it
            if shutil.which("promtool") is None:
                with tempfile.TemporaryDirectory() as kept:
                    failure = apt.install(_PACKAGE, Path(kept))
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    return Missing(
        reason=f"no promtool to check metrics with ({failure}). "
        f"Install it (`sudo apt-get install {_PACKAGE}`)"
    )
