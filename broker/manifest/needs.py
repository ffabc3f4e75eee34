"""What manifests refer to that nobody gave with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

Referred = TypeVar("Referred")


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """An object that others refer to."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def subject(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Looked(dict[str, Referred]):
    """Objects of a kind by ``namespace/name``; notes in ``needs`` which are asked for."""

    def __init__(self, kind: str, needs: set[Need]) -> None:
        super().__init__()
        self._kind = kind
        self._needs = needs

    def __contains__(self, key: object) -> bool:
        namespace, _, name = str(key).partition("/")
        self._needs.add(Need("v1", self._kind, namespace, name))
        return super().__contains__(key)
