"""What is told of the kinds: a CustomResourceDefinition of each, a list of all, and a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from charts.crds.definitions import definition
from charts.crds.kinds import KINDS, Kind
from charts.crds.rules import rules

_FOLDER: Final = Path(__file__).parents[1] / "cemesh" / "files"
LIST: Final = _FOLDER / "kinds.yaml"
DEFINITIONS: Final = _FOLDER / "crds"
PAGE: Final = Path(__file__).parents[2] / "docs" / "kubernetes-kinds.md"

_TABLE: Final = re.compile(
    r"(?<=^\| kind \| resource \| versions \|\n\|---\|---\|---\|\n)(?:\|.*\n)*", re.MULTILINE
)

_MADE: Final = "# Made by `python -m charts.crds --write`: change that, not this.\n"
_ABOUT_LIST: Final = f"""\
{_MADE}#
# The kinds of object that the mesh reads in a cluster.
#
#   rules.read    rules of a Role or ClusterRole, as they stand: get, list and watch the objects
#   rules.status  the same for writing their statuses
#   kinds         each kind: its group, its versions (the one that is stored first), its plural,
#                 the name of its CustomResourceDefinition (crd), whether the mesh writes its
#                 status, and its sort: broker, trigger, config, policy, source or sink
#
# In a template:
#
#   {{{{- $kinds := .Files.Get "files/kinds.yaml" | fromYaml }}}}
#   {{{{- toYaml $kinds.rules.read | nindent 2 }}}}
"""


def files() -> Mapping[Path, str]:
    """Return file → what it is to have."""
    listed = {"rules": rules(), "kinds": [*map(_listed, KINDS)]}
    definitions = {
        DEFINITIONS / f"{kind.definition}.yaml": _text(_MADE, definition(kind)) for kind in KINDS
    }
    page = _TABLE.sub("".join(map(_row, KINDS)), PAGE.read_text())
    return {LIST: _text(_ABOUT_LIST, listed), PAGE: page, **definitions}


def _row(kind: Kind) -> str:
    short = "".join(f", `{each}`" for each in kind.short_names)
    versions = ", ".join(f"`{each}`" for each in kind.versions)
    return f"| {kind.kind} | `{kind.definition}`{short} | {versions} |\n"


def _listed(kind: Kind) -> dict[str, Any]:
    return {
        "kind": kind.kind,
        "sort": kind.sort,
        "group": kind.group,
        "versions": list(kind.versions),
        "plural": kind.plural_name,
        "crd": kind.definition,
        "status": kind.has_status,
    }


def _text(comment: str, value: Mapping[str, Any]) -> str:
    dumped = yaml.dump(dict(value), Dumper=_Plain, sort_keys=False, width=120)
    return comment + dumped


class _Plain(yaml.SafeDumper):
    """Writes what stands in several places in each of them."""

    def ignore_aliases(self, data: object) -> bool:
        return True
