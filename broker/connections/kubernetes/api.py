"""The API of Kubernetes, as far as a watch needs it: what is there, lists, and watches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Literal

import msgspec

from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.client import Answer, asked
from broker.connections.kubernetes.collections import Collection, Object, root
from broker.connections.kubernetes.decoding import decoded
from broker.connections.kubernetes.refusals import Gone, expect_ok, fault_of, rule_of
from broker.errors import UpstreamUnavailable

_PAGE: Final = 500
_LARGEST_PAGE: Final = 256 << 20
_LARGEST_OBJECT: Final = 16 << 20
"""Bytes. The API server takes no more than 3 MiB in a request."""

_WATCHES_FOR: Final = 120
"""Seconds after which the API server is to end a watch, which is then begun again."""

_LONGER: Final = 30
"""Seconds after which it is begun again all the same: that shows whether anybody is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    objects: Sequence[Object]
    version: str
    following: str | None


class Change(msgspec.Struct, frozen=True):
    """A line of a watch."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Object


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[Object] | None = None  # null is what Go makes of none


class _Type(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _Types(msgspec.Struct, frozen=True):
    resources: list[_Type] | None = None


Named = tuple[str, bool]
"""What objects of a kind are called in paths, and whether they are in namespaces."""

_list: Final = msgspec.json.Decoder(_List)
_types: Final = msgspec.json.Decoder(_Types)
_change: Final = msgspec.json.Decoder(Change)


async def kinds_of(access: Access, api_version: str) -> Mapping[str, Named]:
    """Return how objects are called, by their kinds: of all that the API server has by now."""
    path = root(api_version)
    async with asked(access, path) as answer:
        if answer.status == 404:
            return {}
        await expect_ok(answer, "reading which kinds there are")
        found = decoded(_types, await answer.body(most=_LARGEST_OBJECT), path).resources or ()
    # What has a slash is a part of objects.
    return {each.kind: (each.name, each.namespaced) for each in found if "/" not in each.name}


async def plural_of(access: Access, api_version: str, kind: str) -> Named:
    """Return how objects of the kind are called.

    Raises `UpstreamUnavailable`, also where there is no such kind.
    """
    found = (await kinds_of(access, api_version)).get(kind)
    if found is None:
        raise UpstreamUnavailable(no_kind(api_version, kind))
    return found


def no_kind(api_version: str, kind: str) -> str:
    return (
        f"the API server has no kind {kind} in {api_version}: is its "
        "CustomResourceDefinition installed, and apiVersion what `kubectl api-resources` says?"
    )


async def ready(access: Access) -> None:
    """Return if the API server says that it serves all that it has. Raises `UpstreamUnavailable`.

    One that is starting has, for a while, no kinds but its own, and says so by a 404.
    """
    async with asked(access, "/readyz") as answer:
        # Not everybody may ask that, and what stands in for an API server may have no answer.
        if answer.status not in (200, 403, 404):
            await expect_ok(answer, "waiting until it is ready")


async def page(access: Access, of: Collection, following: str | None) -> Page:
    """Return the objects after the page before, whose ``following`` this is. May raise `Gone`."""
    query = {"limit": str(_PAGE), **of.query}
    if following is not None:
        query["continue"] = following
    async with asked(access, of.path, query) as answer:
        await expect_ok(answer, *rule_of(of))
        found = decoded(_list, await answer.body(most=_LARGEST_PAGE), of.path)
    return Page(
        objects=[_whole(each, of) for each in found.items or ()],
        version=found.metadata.resource_version,
        following=found.metadata.continue_ or None,
    )


async def everything(access: Access, of: Collection) -> Sequence[Object]:
    """Return all objects of a small collection. Raises `UpstreamUnavailable`."""
    found: list[Object] = []
    following: str | None = None
    try:
        while True:
            one = await page(access, of, following)
            found += one.objects
            following = one.following
            if following is None:
                return found
    except Gone:
        raise UpstreamUnavailable(f"the list of {of.path} was out of date amid it") from None


@asynccontextmanager
async def watch(
    access: Access, of: Collection, version: str
) -> AsyncIterator[AsyncIterator[Sequence[Change]]]:
    """Yield what happens after that version, as many changes at a time as have come.

    It ends where the API server ends it, or should have. Raises `Gone` where that does not know
    the version any more, also amid the changes.
    """
    query = {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(_WATCHES_FOR),
        **of.query,
    }
    async with asked(access, of.path, query) as answer:
        await expect_ok(answer, *rule_of(of))
        async with aclosing(_changes(answer, of)) as changes:
            yield changes


async def _changes(answer: Answer, of: Collection) -> AsyncGenerator[Sequence[Change], None]:
    rest = b""
    async with aclosing(answer.parts(within=_WATCHES_FOR + _LONGER)) as parts:
        async for part in parts:
            *lines, rest = (rest + part).split(b"\n")
            if max(map(len, (rest, *lines))) > _LARGEST_OBJECT:
                raise UpstreamUnavailable(
                    f"{of.path}: an object has more than {_LARGEST_OBJECT:,} bytes"
                )
            changes = [decoded(_change, line, of.path) for line in lines if line]
            good = list(takewhile(lambda each: each.type != "ERROR", changes))
            if good:
                yield [Change(each.type, _whole(each.object, of)) for each in good]
            if len(good) < len(changes):
                raise fault_of(changes[len(good)].object, of)


def _whole(found: Object, of: Collection) -> Object:
    """Return the object as it is by itself: in a list it does not say what it is."""
    return {"kind": of.kind, "apiVersion": of.api_version, **found}
