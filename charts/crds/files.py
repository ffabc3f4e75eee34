"""What the chart has of the kinds: a CustomResourceDefinition of each, and a list of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from charts.crds.kinds import KINDS, Kind
from charts.crds.rules import rules

FOLDER: Final = Path(__file__).parents[1] / "cemesh" / "files"
LIST: Final = FOLDER / "kinds.yaml"

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
    return {LIST: _text(_ABOUT_LIST, {"rules": rules(), "kinds": [*map(_listed, KINDS)]})}


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
    return comment + yaml.safe_dump(dict(value), sort_keys=False, width=100)
