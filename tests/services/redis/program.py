"""Where the program comes from: Debian's package, or whatever else is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.services import apt
from tests.services.locks import locked
from tests.services.missing import Missing

_OLDEST: Final = 7
_PACKAGE: Final = "redis-server"
_LOCK: Final = Path(tempfile.gettempdir(), "cemesh-redis.lock")


def find() -> Path | Missing:
    """Return the program of a Redis; its package is installed if need be.

    Whoever comes second waits for whoever installs it.
    """
    found = _installed()
    if found is not None:
        return found
    with locked(_LOCK):
        found = _installed()
        failure = None
        if found is None:
            with tempfile.TemporaryDirectory() as kept:
                failure = apt.install(_PACKAGE, Path(kept))
            found = _installed()
    if found is not None:
        return found
    return Missing(
        reason=f"no Redis to test with: none of {_OLDEST} or newer is installed "
        f"({failure or f'the package {_PACKAGE} is older'}). "
        f"Install it (`sudo apt-get install {_PACKAGE}`)"
    )


def _installed() -> Path | None:
    program = shutil.which("redis-server")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"v=(\d+)\.", said.stdout)
    return Path(program) if version and int(version[1]) >= _OLDEST else None
