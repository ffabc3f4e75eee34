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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.services.cluster import PLACES, TYPES, Cluster, Object, Watch, has, status_of, tell
from tests.services.mesh import HOST, free_port

TOKEN: Final = "swordfish"

_ACCEPTS: Final = 8
"""Turns of the event loop until a connection that was accepted just now is known to us."""

_PATH: Final = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?/([a-z]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that came in."""

    path: str
    query: Mapping[str, str]
    token: str | None


class ApiServer(Cluster):
    """Serves what is put into it while it is entered, at ``url``.

    ``page`` is how many objects a list has at most, ``piece`` how many bytes are written at a time.
    ``refusals`` are what it answers the next requests with: a status, and headers. ``forbidden``
    are plurals that nobody may read, ``gone_as`` says how a watch learns that its version is gone:
    by a ``status``, or by an ``event``.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"http{'s' if tls else ''}://{HOST}:{self.port}"
        self.token = TOKEN
        self.page = 500
        self.piece = 1 << 20
        self.gone_as = "status"
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        self.forbidden: set[str] = set()
        self.asked: list[Asked] = []
        self.written: dict[str, bytes] = {}
        self._tls = tls
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, HOST, self.port, ssl=self._tls)

    async def down(self) -> None:
        """Refuse connections, and close those that there are amid whatever they do."""
        for each in self._server.sockets:
            # One that is accepted while the server is closed is left open by asyncio.
            asyncio.get_running_loop().remove_reader(each.fileno())
        for _ in range(_ACCEPTS):
            await asyncio.sleep(0)
        self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        for _ in range(_ACCEPTS):  # what was aborted is closed in the next turn
            await asyncio.sleep(0)

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

    # --- HTTP ------------------------------------------------------------------------------

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One that is cancelled before it has begun would never close what it was given.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        writer = self._connections.pop(task)
        writer.transport.abort()  # while the writer is held: one let go of before warns

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.refusals:
            status, headers = self.refusals.pop(0)
            await self._send(writer, status, status_of(status, "as it was told"), headers)
        elif asked.token != self.token.lower():
            await self._send(writer, 401, status_of(401, "Unauthorized"))
        elif asked.path in TYPES:
            await self._send(writer, 200, _discovery(asked.path))
        elif (match := _PATH.fullmatch(asked.path)) is None or match[1] != PLACES.get(match[3]):
            await self._send(writer, 404, status_of(404, "the server could not find it"))
        elif match[3] in self.forbidden:
            await self._send(writer, 403, status_of(403, f"{match[3]} is forbidden"))
        elif asked.query.get("watch") == "true":
            watch = Watch(
                plural=match[3], namespace=match[2], labels=_labels(asked), name=_name(asked)
            )
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
        begun, _, start = asked.query.get("continue", f"{self.version} 0").partition(" ")
        if int(begun) < self.compacted:
            await self._send(
                writer, 410, status_of(410, "The provided continue parameter is too old")
            )
            return
        labels, name = _labels(asked), _name(asked)
        found = [
            {name: value for name, value in each.items() if name not in ("kind", "apiVersion")}
            for (of, within, called), each in self.objects.items()
            if of == plural and namespace in (None, within) and has(each, labels)
            if name in (None, called)
        ]
        end = int(start) + min(int(asked.query["limit"]), self.page)
        meta = {"resourceVersion": begun}
        if end < len(found):
            meta["continue"] = f"{begun} {end}"
        body = {"kind": "List", "metadata": meta, "items": found[int(start) : end] or None}
        await self._send(writer, 200, body)

    async def _watch(self, watch: Watch, since: int, writer: asyncio.StreamWriter) -> None:
        is_gone = since < self.compacted
        if is_gone and self.gone_as == "status":
            await self._send(writer, 410, status_of(410, "too old resource version"))
            return
        await self._write(
            writer,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
        )
        if is_gone:
            gone = status_of(410, "too old resource version")
            watch.lines.put_nowait({"type": "ERROR", "object": gone})
            watch.lines.put_nowait(None)
        for each in self.history:
            if each.version > since:
                tell(each, watch)
        self.watches.add(watch)
        try:
            while (line := await watch.lines.get()) is not None:
                text = self._text(line) + b"\n"
                await self._write(writer, b"%x\r\n%s\r\n" % (len(text), text))
            await self._write(writer, b"0\r\n\r\n")
        finally:
            self.watches.remove(watch)

    def _text(self, body: Object) -> bytes:
        """Return it as JSON, with what is ``written`` in place of strings."""
        text = json.dumps(body).encode()
        for each, instead in self.written.items():
            text = text.replace(b'"%s"' % each.encode(), instead)
        return text

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: Object,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        text = self._text(body)
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


def _discovery(root: str) -> Object:
    types = [
        {"name": plural, "kind": kind, "namespaced": is_namespaced, "verbs": ["list", "watch"]}
        for plural, (kind, is_namespaced) in reversed(list(TYPES[root].items()))
    ]
    return {"kind": "APIResourceList", "resources": types}


def _labels(asked: Asked) -> Mapping[str, str]:
    pairs = filter(None, asked.query.get("labelSelector", "").split(","))
    return dict(each.split("=", 1) for each in pairs)  # others are not needed here


def _name(asked: Asked) -> str | None:
    field, _, name = asked.query.get("fieldSelector", "").partition("=")
    assert field in ("", "metadata.name")  # others are not needed here
    return name or None
