"""Where the program comes from: whatever is installed, or Go, which makes it from its module."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.services.locks import locked
from tests.services.missing import Missing

_VERSION: Final = "v1.8.0"
_MODULE: Final = f"github.com/versity/versitygw/cmd/versitygw@{_VERSION}"
_KEPT: Final = Path(__file__).parents[3] / ".s3" / _VERSION
"""What was made; git ignores it."""

_MAKING: Final = 900  # seconds


def find() -> Path | Missing:
    """Return the program of a VersityGW; it is made if need be, which takes minutes.

    Whoever comes second waits for whoever makes it.
    """
    installed = shutil.which("versitygw")
    if installed is not None:
        return Path(installed)
    program = _KEPT / "versitygw"
    _KEPT.mkdir(parents=True, exist_ok=True)
    with locked(_KEPT / "lock"):
        failure = None if program.exists() else _make()
    if failure is None:
        return program
    return Missing(
        reason=f"no S3 to test with: there is no versitygw, and it cannot be made ({failure}). "
        f"Install Go (`sudo apt-get install golang`), or `go install {_MODULE}` elsewhere"
    )


def _make() -> str | None:
    """Return why Go does not make it, or None."""
    go = shutil.which("go")
    if go is None:
        return "there is no go"
    try:
        made = subprocess.run(
            [go, "install", "-trimpath", "-ldflags=-s -w", _MODULE],
            env={**os.environ, "GOBIN": str(_KEPT), "GOFLAGS": "", "CGO_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_MAKING,
        )
    except subprocess.TimeoutExpired:
        return f"go does not end within {_MAKING} s"
    if made.returncode == 0:
        return None
    lines = made.stdout.strip().splitlines() or [f"go ended with {made.returncode}"]
    return lines[-1]
