"""The API of Kubernetes, as far as a watch needs it: what is there, lists, and watches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Literal, TypeVar

import msgspec

from broker.errors import UpstreamUnavailable
from sources.apiserver.access import Access
from sources.apiserver.client import Answer, asked
from sources.apiserver.spec import ObjectType

Object = dict[str, Any]
"""An object of Kubernetes, as it is in JSON."""

_PAGE: Final = 500
_LARGEST_PAGE: Final = 256 << 20
_LARGEST_OBJECT: Final = 16 << 20
"""Bytes. The API server takes no more than 3 MiB in a request."""

_WATCHES_FOR: Final = 120
"""Seconds after which the API server is to end a watch, which is then begun again."""

_LONGER: Final = 30
_LONGEST_PAUSE: Final = 60.0


class Gone(Exception):
    """The place from which on it was asked is no longer known."""


class Busy(UpstreamUnavailable):
    """The API server asks to be left alone for so many seconds."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Where objects of a type are: ``path`` is that of all of a namespace, or of the cluster."""

    api_version: str
    kind: str
    plural: str
    namespace: str | None
    selector: str

    @property
    def path(self) -> str:
        within = "" if self.namespace is None else f"/namespaces/{self.namespace}"
        return f"{_root(self.api_version)}{within}/{self.plural}"


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


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 0


class _Type(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _Types(msgspec.Struct, frozen=True):
    resources: list[_Type] | None = None


_Decoded = TypeVar("_Decoded")

_list: Final = msgspec.json.Decoder(_List)
_types: Final = msgspec.json.Decoder(_Types)
_change: Final = msgspec.json.Decoder(Change)
_status: Final = msgspec.json.Decoder(_Status)


async def plural_of(access: Access, type: ObjectType) -> tuple[str, bool]:
    """Return what objects of the type are called in paths, and whether they are in namespaces."""
    path = _root(type.api_version)
    async with asked(access, path) as answer:
        if answer.status == 404:
            found: Sequence[_Type] = ()
        else:
            await _expect_ok(answer, "reading which kinds there are")
            found = _decoded(_types, await answer.body(most=_LARGEST_OBJECT), path).resources or ()
    for each in found:
        if each.kind == type.kind and "/" not in each.name:  # what has one is a part of objects
            return each.name, each.namespaced
    raise UpstreamUnavailable(
        f"the API server has no kind {type.kind} in {type.api_version}: is its "
        "CustomResourceDefinition installed, and apiVersion what `kubectl api-resources` says?"
    )


async def page(access: Access, of: Collection, following: str | None) -> Page:
    """Return the objects after the page before, whose ``following`` this is. May raise `Gone`."""
    query = {"limit": str(_PAGE)}
    if of.selector:
        query["labelSelector"] = of.selector
    if following is not None:
        query["continue"] = following
    async with asked(access, of.path, query) as answer:
        await _expect_ok(answer, *_rule(of))
        found = _decoded(_list, await answer.body(most=_LARGEST_PAGE), of.path)
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

    It ends where the API server ends it. Raises `Gone` where it does not know the version any
    more, also amid the changes.
    """
    query = {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(_WATCHES_FOR),
    }
    if of.selector:
        query["labelSelector"] = of.selector
    async with asked(access, of.path, query) as answer:
        await _expect_ok(answer, *_rule(of))
        async with aclosing(_changes(answer, of)) as changes:
            yield changes


async def _changes(answer: Answer, of: Collection) -> AsyncGenerator[Sequence[Change], None]:
    rest = b""
    async with aclosing(answer.parts(within=_WATCHES_FOR + _LONGER)) as parts:
        async for part in parts:
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > _LARGEST_OBJECT:
                raise UpstreamUnavailable(
                    f"{of.path}: an object has more than {_LARGEST_OBJECT:,} bytes"
                )
            changes = [_decoded(_change, line, of.path) for line in lines if line]
            good = list(takewhile(lambda each: each.type != "ERROR", changes))
            if good:
                yield [Change(each.type, _whole(each.object, of)) for each in good]
            if len(good) < len(changes):
                raise _fault(changes[len(good)].object, of)


def _fault(found: Object, of: Collection) -> Exception:
    status = msgspec.convert(found, _Status)
    if status.code == 410:
        return Gone()
    return UpstreamUnavailable(f"the API server ended the watch of {of.path}: {status.message}")


def _rule(of: Collection) -> tuple[str, str]:
    group = of.api_version.rpartition("/")[0]
    where = "ClusterRole" if of.namespace is None else f"Role of the namespace '{of.namespace}'"
    return f"reading {of.plural}", (
        f'it takes a {where} with the rule apiGroups ["{group}"], resources ["{of.plural}"], '
        'verbs ["get", "list", "watch"], bound to whom the source runs as'
    )


async def _expect_ok(answer: Answer, doing: str, rule: str = "") -> None:
    if answer.status == 200:
        return
    try:
        said = _status.decode(await answer.body(most=1 << 20)).message
    except msgspec.DecodeError:
        said = ""
    why = f"{doing}: the API server answers {answer.status}{': ' if said else ''}{said}"
    match answer.status:
        case 410:
            raise Gone
        case 401:
            raise UpstreamUnavailable(
                f"{why}; the token or the certificate is not, or no longer, valid"
            )
        case 403 if rule:
            raise UpstreamUnavailable(f"{why}; {rule}")
        case 429:
            raise Busy(why, _seconds(answer.headers))
        case _:
            raise UpstreamUnavailable(why)


def _seconds(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE) if text.isascii() and text.isdigit() else 1.0


def _decoded(decoder: msgspec.json.Decoder[_Decoded], body: bytes, path: str) -> _Decoded:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise UpstreamUnavailable(f"{path} is not answered as Kubernetes does: {error}") from None


def _whole(found: Object, of: Collection) -> Object:
    """Return the object as it is by itself: in a list it does not say what it is."""
    return {"kind": of.kind, "apiVersion": of.api_version, **found}


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
