"""Where objects are in the API of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""An object of Kubernetes, as it is in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Where objects of a type are: ``path`` is that of all of a namespace, or of the cluster.

    Of these it has those with the labels that ``selector`` wants, or the one of that ``name``.
    """

    api_version: str
    kind: str
    plural: str
    namespace: str | None
    selector: str = ""
    name: str | None = None

    @property
    def query(self) -> Mapping[str, str]:
        query = {}
        if self.selector:
            query["labelSelector"] = self.selector
        if self.name is not None:
            query["fieldSelector"] = f"metadata.name={self.name}"
        return query

    @property
    def path(self) -> str:
        within = "" if self.namespace is None else f"/namespaces/{self.namespace}"
        return f"{root(self.api_version)}{within}/{self.plural}"


def root(api_version: str) -> str:
    """Return the path below which all of that version is."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
