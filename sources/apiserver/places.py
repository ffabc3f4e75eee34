"""How far each collection was followed, and what was there then: what is kept of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from broker.connections.kubernetes.collections import Collection
from broker.connections.kubernetes.metadata import Meta
from broker.ports import Json

_log: Final = logging.getLogger("cemesh.sources.apiserver")

_LARGEST: Final = 63 << 10
"""Bytes of JSON, of the 64 KiB that a place may have."""


class Place:
    """``version`` is up to where a collection was followed, None where it is to be listed anew.

    ``known`` has the objects that were there then, by their keys.
    """

    def __init__(self, version: str | None = None, known: Iterable[Meta] = ()) -> None:
        self.version = version
        self.known = {each.key: each for each in known}

    def json(self, *, whole: bool) -> dict[str, Json]:
        """Return what is to be kept: with ``whole`` the objects, too."""
        kept: dict[str, Json] = {"version": self.version}
        if whole:
            kept["known"] = [
                [each.uid, each.resource_version, each.namespace, each.name]
                for each in self.known.values()
            ]
        return kept


class Places:
    """The places of all collections of the API server at a URL."""

    def __init__(self, server: str, saved: Any) -> None:  # noqa: ANN401 - JSON, if there is any
        self._server = server
        # Versions of another cluster say nothing of this one.
        is_ours = saved is not None and saved["server"] == server
        self._saved = saved["collections"] if is_ours else {}
        self._places: dict[str, Place] = {}
        self._told = False

    def of(self, collection: Collection) -> Place:
        """Return the collection's place, which is kept from now on."""
        saved = self._saved.get(_key(collection), {})
        known = [
            Meta(uid=uid, resource_version=version, namespace=namespace, name=name)
            for uid, version, namespace, name in saved.get("known", ())
        ]
        place = self._places[_key(collection)] = Place(saved.get("version"), known)
        return place

    def forget(self, collection: Collection) -> None:
        self._saved.pop(_key(collection), None)
        self._places.pop(_key(collection), None)

    def json(self) -> dict[str, Json]:
        """Return all of them, without the objects where those are too many."""
        found = self._json(whole=True)
        if len(msgspec.json.encode(found)) <= _LARGEST:
            return found
        if not self._told:
            self._told = True
            count = sum(len(each.known) for each in self._places.values())
            _log.warning("too many objects to keep", extra={"count": count})
        return self._json(whole=False)

    def _json(self, *, whole: bool) -> dict[str, Json]:
        places: dict[str, Json] = {
            key: each.json(whole=whole) for key, each in self._places.items()
        }
        return {"server": self._server, "collections": places}


def _key(of: Collection) -> str:
    return f"{of.path}?{of.selector}" if of.selector else of.path
