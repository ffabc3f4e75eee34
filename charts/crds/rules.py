"""What the mesh may do with its kinds in a cluster, as rules of a Role or a ClusterRole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from charts.crds.kinds import KINDS, Kind

READS: Final = ("get", "list", "watch")
WRITES: Final = ("get", "patch", "update")

Rule = dict[str, list[str]]


def rules() -> dict[str, list[Rule]]:
    """Return what is to be read, and whose statuses are written."""
    told = [kind for kind in KINDS if kind.has_status]
    return {
        "read": _rules(KINDS, READS, lambda kind: kind.plural_name),
        "status": _rules(told, WRITES, lambda kind: f"{kind.plural_name}/status"),
    }


def _rules(kinds: Sequence[Kind], verbs: Sequence[str], named: Callable[[Kind], str]) -> list[Rule]:
    def group(kind: Kind) -> str:
        return kind.group

    return [
        {"apiGroups": [name], "resources": sorted(map(named, of_group)), "verbs": list(verbs)}
        for name, of_group in groupby(sorted(kinds, key=group), key=group)
    ]
