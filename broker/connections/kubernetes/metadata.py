"""What every object of Kubernetes says of itself."""

from __future__ import annotations

import msgspec

from broker.connections.kubernetes.collections import Object
from broker.errors import UpstreamUnavailable


class Owner(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    controller: bool = False


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What is asked for of the metadata of an object."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    owner_references: list[Owner] = []

    @property
    def key(self) -> str:
        """What this object has and no other, not even a later one with its name."""
        return self.uid or f"{self.namespace}/{self.name}"


def version_in(found: Object) -> str:
    """Return the object's resourceVersion; raises `UpstreamUnavailable` where there is none."""
    # A bookmark has neither a name nor anything else of what an object has.
    version = (found.get("metadata") or {}).get("resourceVersion")
    if not isinstance(version, str):
        raise UpstreamUnavailable("the API server sends a change without a resourceVersion")
    return version


def meta_of(found: Object) -> Meta:
    """Return the object's metadata; raises `UpstreamUnavailable` where there is none."""
    try:
        return msgspec.convert(found.get("metadata"), Meta)
    except msgspec.ValidationError as error:
        raise UpstreamUnavailable(f"the API server sends what is no object: {error}") from None
