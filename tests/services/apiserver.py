"""An API server of Kubernetes on loopback, as far as lists and watches go, that fails as told.

    async with ApiServer() as server:
        server.put("configmaps", "one", data={"n": "1"})
        server.compact()  # what came before is gone: 410, also for lists that were begun

It runs on the event loop of the test, so that what a call says holds from there on.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.services.mesh import HOST, free_port

Object = dict[str, Any]

TOKEN: Final = "swordfish"

_TYPES: Final[Mapping[str, Mapping[str, tuple[str, bool]]]] = {
    "/api/v1": {
        "configmaps": ("ConfigMap", True),
        "namespaces": ("Namespace", False),
        "nodes": ("Node", False),
        "pods": ("Pod", True),
        "pods/status": ("Pod", True),
    },
    "/apis/apps/v1": {"deployments": ("Deployment", True), "replicasets": ("ReplicaSet", True)},
}
_PATH: Final = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?/([a-z]+)")
_PLACES: Final = {plural: root for root, types in _TYPES.items() for plural in types}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that came in."""

    path: str
    query: Mapping[str, str]
    token: str | None


@dataclass(eq=False, slots=True, kw_only=True)
class Watch:
    """A watch that is open. None is its end, in order."""

    plural: str
    namespace: str | None
    labels: Mapping[str, str]
    lines: asyncio.Queue[Object | None] = field(default_factory=asyncio.Queue)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Happened:
    version: int
    type: str
    plural: str
    before: Object | None
    object: Object


class ApiServer:
    """Serves what is put into it while it is entered, at ``url``.

    ``page`` is how many objects a list has at most, ``piece`` how many bytes are written at a time.
    ``refusals`` are what it answers the next requests with: a status, and headers. ``forbidden``
    are plurals that nobody may read, ``gone_as`` says how a watch learns that its version is gone:
    by a ``status``, or by an ``event``.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.url = f"http{'s' if tls else ''}://{HOST}:{self.port}"
        self.token = TOKEN
        self.page = 500
        self.piece = 1 << 20
        self.gone_as = "status"
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        self.forbidden: set[str] = set()
        self.asked: list[Asked] = []
        self.watches: set[Watch] = set()
        self._tls = tls
        self._version = 100
        self._compacted = 0
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._history: list[_Happened] = []
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls)

    async def down(self) -> None:
        """Refuse connections, and close those that there are amid whatever they do."""
        self._server.close()
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def kubeconfig(self, folder: Path, *, authority: str | None = None) -> Path:
        """Write a kubeconfig that leads here."""
        cluster = {"server": self.url}
        if authority is not None:
            (folder / "ca.pem").write_text(authority)
            cluster["certificate-authority"] = "ca.pem"
        path = folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": self.token}}],
        }
        path.write_text(json.dumps(config))
        return path

    # --- what is there ---------------------------------------------------------------------

    def put(
        self,
        plural: str,
        name: str,
        *,
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        owners: Sequence[Object] = (),
        **content: object,
    ) -> Object:
        """Create the object, or replace it, and return it."""
        kind, is_namespaced = _TYPES[_PLACES[plural]][plural]
        key = (plural, namespace if is_namespaced else "", name)
        before = self._objects.get(key)
        meta: Object = {"name": name} | ({"namespace": namespace} if is_namespaced else {})
        meta["uid"] = before["metadata"]["uid"] if before else str(uuid.uuid4())
        meta["creationTimestamp"] = "2026-03-01T02:00:00Z"
        meta["resourceVersion"] = str(self._next())
        if labels:
            meta["labels"] = dict(labels)
        if owners:
            meta["ownerReferences"] = list(owners)
        api_version = _PLACES[plural].removeprefix("/apis/").removeprefix("/api/")
        found = {"kind": kind, "apiVersion": api_version, "metadata": meta, **content}
        self._objects[key] = found
        self._happened("MODIFIED" if before else "ADDED", plural, before, found)
        return found

    def delete(self, plural: str, name: str, *, namespace: str = "default") -> Object:
        is_namespaced = _TYPES[_PLACES[plural]][plural][1]
        before = self._objects.pop((plural, namespace if is_namespaced else "", name))
        meta = {**before["metadata"], "resourceVersion": str(self._next())}
        self._happened("DELETED", plural, before, {**before, "metadata": meta})
        return before

    def compact(self) -> None:
        """Forget what has happened: nobody can go on from before, neither a list nor a watch."""
        self._compacted = self._next()
        self._history = []

    def end_watches(self) -> None:
        for each in self.watches:
            each.lines.put_nowait(None)

    def bookmark(self) -> str:
        """Tell all watches that nothing more has happened, and return up to which version."""
        version = str(self._next())
        line = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
        for each in self.watches:
            each.lines.put_nowait(line)
        return version

    def fail_watches(self, code: int, message: str) -> None:
        """Tell all watches of an error, and end them."""
        for each in self.watches:
            each.lines.put_nowait({"type": "ERROR", "object": _status(code, message)})
            each.lines.put_nowait(None)

    def _next(self) -> int:
        self._version += 1
        return self._version

    def _happened(self, type: str, plural: str, before: Object | None, found: Object) -> None:
        happened = _Happened(
            version=self._version, type=type, plural=plural, before=before, object=found
        )
        self._history.append(happened)
        for each in self.watches:
            _tell(happened, each)

    # --- HTTP ------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            url = urlsplit(head[0].split()[1])
            fields = dict(each.lower().split(": ", 1) for each in head[1:] if each)
            bearer = fields.get("authorization", "").removeprefix("bearer ") or None
            asked = Asked(path=unquote(url.path), query=dict(parse_qsl(url.query)), token=bearer)
            self.asked.append(asked)
            await self._answer(asked, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test has taken the server down
        finally:
            del self._connections[task]
            writer.transport.abort()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.refusals:
            status, headers = self.refusals.pop(0)
            await self._send(writer, status, _status(status, "as it was told"), headers)
        elif asked.token != self.token.lower():
            await self._send(writer, 401, _status(401, "Unauthorized"))
        elif asked.path in _TYPES:
            await self._send(writer, 200, _discovery(asked.path))
        elif (match := _PATH.fullmatch(asked.path)) is None or match[1] != _PLACES.get(match[3]):
            await self._send(writer, 404, _status(404, "the server could not find it"))
        elif match[3] in self.forbidden:
            await self._send(writer, 403, _status(403, f"{match[3]} is forbidden"))
        elif asked.query.get("watch") == "true":
            watch = Watch(plural=match[3], namespace=match[2], labels=_labels(asked))
            closed = asyncio.create_task(reader.read())
            closed.add_done_callback(lambda _: watch.lines.put_nowait(None))
            try:
                await self._watch(watch, int(asked.query["resourceVersion"]), writer)
            finally:
                closed.cancel()
        else:
            await self._list(asked, match[3], match[2], writer)

    async def _list(
        self, asked: Asked, plural: str, namespace: str | None, writer: asyncio.StreamWriter
    ) -> None:
        begun, _, start = asked.query.get("continue", f"{self._version} 0").partition(" ")
        if int(begun) < self._compacted:
            await self._send(
                writer, 410, _status(410, "The provided continue parameter is too old")
            )
            return
        labels = _labels(asked)
        found = [
            {name: value for name, value in each.items() if name not in ("kind", "apiVersion")}
            for (of, within, _), each in self._objects.items()
            if of == plural and namespace in (None, within) and _has(each, labels)
        ]
        end = int(start) + min(int(asked.query["limit"]), self.page)
        meta = {"resourceVersion": begun}
        if end < len(found):
            meta["continue"] = f"{begun} {end}"
        body = {"kind": "List", "metadata": meta, "items": found[int(start) : end] or None}
        await self._send(writer, 200, body)

    async def _watch(self, watch: Watch, since: int, writer: asyncio.StreamWriter) -> None:
        is_gone = since < self._compacted
        if is_gone and self.gone_as == "status":
            await self._send(writer, 410, _status(410, "too old resource version"))
            return
        await self._write(
            writer,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
        )
        if is_gone:
            gone = _status(410, "too old resource version")
            watch.lines.put_nowait({"type": "ERROR", "object": gone})
            watch.lines.put_nowait(None)
        for each in self._history:
            if each.version > since:
                _tell(each, watch)
        self.watches.add(watch)
        try:
            while (line := await watch.lines.get()) is not None:
                text = json.dumps(line).encode() + b"\n"
                await self._write(writer, b"%x\r\n%s\r\n" % (len(text), text))
            await self._write(writer, b"0\r\n\r\n")
        finally:
            self.watches.remove(watch)

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: Object,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        text = json.dumps(body).encode()
        fields = {
            "Content-Type": "application/json",
            "Content-Length": len(text),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self._write(writer, f"HTTP/1.1 {status} .\r\n{head}\r\n".encode() + text)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for start in range(0, len(data), self.piece):
            writer.write(data[start : start + self.piece])
            await writer.drain()
            await asyncio.sleep(0)


def _tell(happened: _Happened, watch: Watch) -> None:
    """Tell a watch what it is to know: what gets its labels comes, and what loses them goes."""
    namespace = happened.object["metadata"].get("namespace")
    if happened.plural != watch.plural or watch.namespace not in (None, namespace):
        return
    was = happened.before is not None and _has(happened.before, watch.labels)
    is_now = happened.type != "DELETED" and _has(happened.object, watch.labels)
    if was or is_now:
        told = "MODIFIED" if was and is_now else "ADDED" if is_now else "DELETED"
        watch.lines.put_nowait({"type": told, "object": happened.object})


def _discovery(root: str) -> Object:
    types = [
        {"name": plural, "kind": kind, "namespaced": is_namespaced, "verbs": ["list", "watch"]}
        for plural, (kind, is_namespaced) in reversed(list(_TYPES[root].items()))
    ]
    return {"kind": "APIResourceList", "resources": types}


def _labels(asked: Asked) -> Mapping[str, str]:
    pairs = filter(None, asked.query.get("labelSelector", "").split(","))
    return dict(each.split("=", 1) for each in pairs)  # others are not needed here


def _has(found: Object, labels: Mapping[str, str]) -> bool:
    mine: Mapping[str, str] = found["metadata"].get("labels", {})
    return labels.items() <= mine.items()


def _status(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}
