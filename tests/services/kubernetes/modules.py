"""Files of others that tests hold ours to: Go fetches the modules that they are in, and keeps them.

What is fetched is verified, by a checksum that stands beside the name.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tests.services.kubernetes import golang
from tests.services.kubernetes.build import KEPT
from tests.services.locks import locked
from tests.services.missing import Missing

_FETCHING: Final = 120  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Go module, by the checksum of what is in it."""

    path: str
    version: str
    sum: str


class _Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What `go mod download -json` tells of a module."""

    path: str = msgspec.field(name="Path")
    folder: str = msgspec.field(name="Dir", default="")
    sum: str = msgspec.field(name="Sum", default="")
    error: str = msgspec.field(name="Error", default="")


def fetched(*modules: Module) -> Mapping[str, Path] | Missing:
    """Return by the path of each module the folder that it is in, or why they are not there."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with locked(KEPT / "lock"):
        go = golang.find(KEPT)
        return go if isinstance(go, Missing) else _fetched(go, modules)


def _fetched(go: str, modules: Sequence[Module]) -> Mapping[str, Path] | Missing:
    wanted = [f"{module.path}@{module.version}" for module in modules]
    with tempfile.TemporaryDirectory() as outside:  # of any module, whose sums would be asked for
        try:
            ended = subprocess.run(
                [go, "mod", "download", "-json", *wanted],
                cwd=outside,
                env=golang.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_FETCHING,
            )
        except subprocess.TimeoutExpired:
            return Missing(reason=f"Go has not fetched {', '.join(wanted)} within {_FETCHING} s")
    # Each is an object of several lines, and nothing stands between them.
    texts = ended.stdout.replace("\n}\n{", "\n}\0{").split("\0")
    found = [msgspec.json.decode(text, type=_Fetched) for text in texts if text.strip()]
    failed = [each.error for each in found if each.error] or ([] if found else [ended.stderr])
    if failed:
        return Missing(reason=f"Go has not fetched {', '.join(wanted)}: {failed[0].strip()}")
    for module, each in zip(modules, found, strict=True):
        assert each.sum == module.sum, f"{each.path} is not what it was: {each.sum}"
    return {each.path: Path(each.folder) for each in found}
