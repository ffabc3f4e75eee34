"""The definitions of others' kinds that the chart has objects of.

They are in the Go modules of KEDA, Prometheus' operator and the Gateway API, which Go fetches,
verifies and keeps.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from tests.services.kubernetes import golang
from tests.services.kubernetes.build import KEPT
from tests.services.locks import locked
from tests.services.missing import Missing

Object = dict[str, Any]

_FETCHING: Final = 120  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Go module, by the checksum of what is in it, and its files of definitions."""

    path: str
    version: str
    sum: str
    folder: str
    files: Sequence[str]


MODULES: Final = (
    Module(
        path="github.com/kedacore/keda/v2",
        version="v2.18.1",
        sum="h1:h6bRt/IOxxtZpJlHSqhdH/lcInH7Z9obxg/JvWOmGAw=",
        folder="config/crd/bases",
        files=("keda.sh_scaledobjects.yaml", "keda.sh_triggerauthentications.yaml"),
    ),
    Module(
        path="github.com/prometheus-operator/prometheus-operator",
        version="v0.85.0",
        sum="h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        folder="example/prometheus-operator-crd",
        files=(
            "monitoring.coreos.com_podmonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "monitoring.coreos.com_servicemonitors.yaml",
        ),
    ),
    Module(
        path="sigs.k8s.io/gateway-api",
        version="v1.4.0",
        sum="h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=",
        folder="config/crd/standard",
        files=("gateway.networking.k8s.io_httproutes.yaml",),
    ),
)


class _Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What `go mod download -json` tells of a module."""

    path: str = msgspec.field(name="Path")
    folder: str = msgspec.field(name="Dir", default="")
    sum: str = msgspec.field(name="Sum", default="")
    error: str = msgspec.field(name="Error", default="")


def definitions() -> Sequence[Object] | Missing:
    """Return them, or why they are not there."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with locked(KEPT / "lock"):
        go = golang.find(KEPT)
        if isinstance(go, Missing):
            return go
        fetched = _fetched(go)
    if isinstance(fetched, Missing):
        return fetched
    return [
        _read(fetched[module.path], module, file) for module in MODULES for file in module.files
    ]


def _fetched(go: str) -> Mapping[str, _Fetched] | Missing:
    wanted = [f"{module.path}@{module.version}" for module in MODULES]
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
        return Missing(reason=f"Go has not fetched the definitions of others: {failed[0].strip()}")
    for module, each in zip(MODULES, found, strict=True):
        assert each.sum == module.sum, f"{each.path} is not what it was: {each.sum}"
    return {each.path: each for each in found}


def _read(fetched: _Fetched, module: Module, file: str) -> Object:
    text = Path(fetched.folder, module.folder, file).read_text()
    (found,) = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    assert isinstance(found, dict)
    return found
