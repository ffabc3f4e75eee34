"""The definitions of others' kinds that the chart has objects of.

They are in the Go modules of KEDA, Prometheus' operator and the Gateway API, which Go fetches,
verifies and keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.services.kubernetes.modules import Module, fetched
from tests.services.missing import Missing

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """The ``files`` of definitions in a ``folder`` of a module."""

    module: Module
    folder: str
    files: Sequence[str]


_DEFINITIONS: Final = (
    Definitions(
        module=Module(
            path="github.com/kedacore/keda/v2",
            version="v2.18.1",
            sum="h1:h6bRt/IOxxtZpJlHSqhdH/lcInH7Z9obxg/JvWOmGAw=",
        ),
        folder="config/crd/bases",
        files=("keda.sh_scaledobjects.yaml", "keda.sh_triggerauthentications.yaml"),
    ),
    Definitions(
        module=Module(
            path="github.com/prometheus-operator/prometheus-operator",
            version="v0.85.0",
            sum="h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        ),
        folder="example/prometheus-operator-crd",
        files=(
            "monitoring.coreos.com_podmonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "monitoring.coreos.com_servicemonitors.yaml",
        ),
    ),
    Definitions(
        module=Module(
            path="sigs.k8s.io/gateway-api",
            version="v1.4.0",
            sum="h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=",
        ),
        folder="config/crd/standard",
        files=("gateway.networking.k8s.io_httproutes.yaml",),
    ),
)


def definitions() -> Sequence[Object] | Missing:
    """Return them, or why they are not there."""
    folders = fetched(*(each.module for each in _DEFINITIONS))
    if isinstance(folders, Missing):
        return folders
    return [
        _read(folders[each.module.path] / each.folder / file)
        for each in _DEFINITIONS
        for file in each.files
    ]


def _read(file: Path) -> Object:
    (found,) = [each for each in yaml.load_all(file.read_text(), yaml.CSafeLoader) if each]
    assert isinstance(found, dict)
    return found
