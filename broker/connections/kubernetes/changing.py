"""Changes objects of a cluster, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.client import Body, asked
from broker.connections.kubernetes.collections import Object, root
from broker.connections.kubernetes.decoding import decoded
from broker.connections.kubernetes.refusals import Gone, expect_ok
from broker.errors import UpstreamUnavailable

CONFLICT: Final = 409
"""The status of `Refused` where the object is another by now, or where there is one already."""

_object: Final = msgspec.json.Decoder(Object)
_LARGEST: Final = 16 << 20
_MERGE: Final = "application/merge-patch+json"
_DONE: Final = frozenset({200, 201, 202})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What objects of a kind are called in paths; ``part`` is that of them which is meant."""

    api_version: str
    plural: str
    part: str = ""

    def path(self, namespace: str, name: str = "") -> str:
        parts = (root(self.api_version), "namespaces", namespace, self.plural, name, self.part)
        return "/".join(each for each in parts if each)

    def rule(self, verb: str) -> str:
        group = self.api_version.rpartition("/")[0]
        named = f"{self.plural}/{self.part}" if self.part else self.plural
        return (
            f'it takes a Role with the rule apiGroups ["{group}"], resources ["{named}"], verbs '
            f'["{verb}"], bound to whom cemesh runs as'
        )


class Changer:
    """Changes what is in a cluster. All raise `UpstreamUnavailable`: `Refused`, with a status."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def read(self, of: Resource, namespace: str, name: str) -> Object:
        return await self._asked("GET", of, of.path(namespace, name), "get")

    async def create(self, of: Resource, made: Object) -> Object:
        """Return the object as it is now that it is there."""
        path = of.path(made["metadata"]["namespace"])
        return await self._asked("POST", of, path, "create", made)

    async def replace(self, of: Resource, made: Object) -> Object:
        """Return the object once it is as that: the one of its resourceVersion, if that is said."""
        meta = made["metadata"]
        return await self._asked(
            "PUT", of, of.path(meta["namespace"], meta["name"]), "update", made
        )

    async def patch(
        self, of: Resource, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> Object:
        """Return the object once the patch is merged in (RFC 7396)."""
        return await self._asked("PATCH", of, of.path(namespace, name), "patch", patch, type=_MERGE)

    async def delete(self, of: Resource, found: Object) -> None:
        """Return once that very object is being deleted, and what it owns with it."""
        meta = found["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": meta["uid"]},
            "propagationPolicy": "Background",
        }
        path = of.path(meta["namespace"], meta["name"])
        await self._asked("DELETE", of, path, "delete", options)

    async def _asked(
        self,
        method: str,
        of: Resource,
        path: str,
        verb: str,
        body: Mapping[str, Any] | None = None,
        *,
        type: str = "application/json",
    ) -> Object:
        sent = None if body is None else Body(content=msgspec.json.encode(body), type=type)
        async with asked(self._access, path, method=method, body=sent) as answer:
            if answer.status not in _DONE:
                try:
                    await expect_ok(answer, f"{method} {path}", of.rule(verb))
                except Gone:  # what no single object is
                    raise UpstreamUnavailable(f"{method} {path}: 410") from None
            content = await answer.body(most=_LARGEST)
        return decoded(_object, content, path)


def difference(former: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes the one the other."""
    patch: dict[str, Any] = dict.fromkeys(former.keys() - wanted.keys())
    for name, value in wanted.items():
        before = former.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            within = difference(before, value)
            if within:
                patch[name] = within
        elif name not in former or value != before:
            patch[name] = value
    return patch
