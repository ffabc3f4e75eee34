"""Subscribers on real sockets that answer, and misbehave, as they are told.

    async with Subscriber() as subscriber:
        subscriber.answers("/orders", [503, 503, 200])
        ...
        await subscriber.received_at("/orders", 3)

Every request is recorded byte for byte. A path answers with the list's items in turn, and
with the last one from then on, or as a function of the request says; a path that was told
nothing answers 200.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Self, assert_never

Headers = Mapping[str, str] | Sequence[tuple[str, str]]

_HEAD_LIMIT = 256 * 1024
_PHRASES = {int(each): each.phrase for each in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})


# --- what to answer ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Await:
    """Do nothing until the event is set."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Endless:
    """Send these bytes again and again until the peer closes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Hang:
    """Do nothing more until the peer closes."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, in order or with a reset."""

    reset: bool = False


Action = Send | Pause | Await | Endless | Hang | Close


@dataclass(frozen=True, slots=True)
class Script:
    """What is done once a request is there: in full, or with ``early`` only its head."""

    actions: tuple[Action, ...]
    early: bool = False


def reply(
    status: int, headers: Headers = (), body: bytes = b"", *, reason: str | None = None
) -> Script:
    """Answer with a body of known length."""
    items = [*_items(headers), ("Content-Length", str(len(body)))]
    if status in _WITHOUT_BODY:
        items.pop()
    return Script((Send(_head(status, items, reason) + body),))


def chunked(status: int, headers: Headers = (), chunks: Iterable[bytes] = ()) -> Script:
    """Answer with a chunked body, every chunk a write of its own."""
    head = _head(status, [*_items(headers), ("Transfer-Encoding", "chunked")], None)
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return Script((Send(head), *map(Send, parts), Send(b"0\r\n\r\n")))


def until_close(status: int, headers: Headers = (), body: bytes = b"") -> Script:
    """Answer with a body that ends where the connection does."""
    return Script((Send(_head(status, _items(headers), None) + body), Close()))


def after(delay: float | asyncio.Event, answer: int | Script) -> Script:
    """Answer after so many seconds, or once the event is set."""
    script = answer if isinstance(answer, Script) else reply(answer)
    wait = Await(delay) if isinstance(delay, asyncio.Event) else Pause(delay)
    return Script((wait, *script.actions), script.early)


def early(answer: Script) -> Script:
    """Answer as soon as the head is read, and close without reading the body."""
    return Script((*answer.actions, Close()), early=True)


def raw(*data: bytes) -> Script:
    """Answer with these bytes, whatever they are, and close."""
    return Script((*map(Send, data), Close()))


def hang(*data: bytes) -> Script:
    """Send these bytes, then nothing more."""
    return Script((*map(Send, data), Hang()))


def endless(head: bytes, data: bytes) -> Script:
    """Send ``head``, then ``data`` again and again."""
    return Script((Send(head), Endless(data)))


def close() -> Script:
    """Close without a word."""
    return Script((Close(),))


def reset(*data: bytes) -> Script:
    """Send these bytes, then reset the connection."""
    return Script((*map(Send, data), Close(reset=True)))


# --- the server ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came in: ``head`` as it was sent, ``headers`` as it lists them."""

    method: str
    path: str
    head: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """Return the value of the header; fail if it is there twice."""
        values = [value for each, value in self.headers if each.lower() == name.lower()]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None


Answer = int | Script
Answering = Callable[[Request], Answer]
"""Return how to answer a request. Its body is not read yet: that is up to the answer."""


def _take(_: Request) -> Answer:
    return 200


def _in_turn(answers: Iterable[Answer]) -> Answering:
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


_ACCEPTING = 4
"""Turns of the loop until asyncio has handed over a connection that it has accepted.

If the server was closed before, nobody would close that.
"""


class Subscriber:
    """A server on a free port of ``host`` while it is entered. ``received`` is in order."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.received: list[Request] = []
        self.connections = 0
        self.host = host
        self.port = port
        self._tls = tls
        self._paths: dict[str, Answering] = {}
        self._by_body: set[str] = set()
        self._news = asyncio.Condition()
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=self._tls, limit=_HEAD_LIMIT
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        for each in self._server.sockets:  # so that it accepts no more
            asyncio.get_running_loop().remove_reader(each.fileno())
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        self._server.close()
        await self.close_connections()

    def url(self, path: str = "/", host: str | None = None) -> str:
        host = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def answers(self, path: str, answers: Iterable[Answer] | Answering) -> str:
        """Set what is answered at ``path`` from now on, and return its URL."""
        self._paths[path] = answers if callable(answers) else _in_turn(answers)
        return self.url(path)

    def answers_as_told(self, path: str, answer: Answering) -> str:
        """Set the same, by a function that is asked once the request's body is there."""
        self._by_body.add(path)
        return self.answers(path, answer)

    async def received_at(
        self, path: str, count: int = 1, *, within: float = 30.0
    ) -> Sequence[Request]:
        """Return the requests at ``path`` once there are ``count`` of them."""

        def there() -> list[Request]:
            return [each for each in self.received if each.path == path]

        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: len(there()) >= count)
        return there()

    async def all_closed(self, *, but: int = 0, within: float = 20.0) -> None:
        """Return once no more than ``but`` connections are open."""
        # Less than the 30 s after which our client closes what has only rested.
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: len(self._conversations) <= but)

    async def close_connections(self) -> None:
        """Close every connection, whatever it is doing."""
        for task in list(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        self.connections += 1
        try:
            await self._converse(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer left, or the test is over
        finally:
            self._conversations.discard(task)
            writer.transport.abort()
            async with self._news:
                self._news.notify_all()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            request, size = _request(head, connection)
            reads_first = request.path in self._by_body
            if reads_first:
                request = replace(request, body=await reader.readexactly(size))
            answer = self._paths.get(request.path, _take)(request)
            script = answer if isinstance(answer, Script) else reply(answer)
            if not script.early and not reads_first:
                request = replace(request, body=await reader.readexactly(size))
            self.received.append(request)
            async with self._news:
                self._news.notify_all()
            if not await _perform(script, reader, writer):
                return


async def _perform(
    script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Answer as told, and return whether the connection goes on."""
    for action in script.actions:
        match action:
            case Send(data):
                writer.write(data)
                await writer.drain()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Await(event):
                await event.wait()
            case Endless(data):
                while True:
                    writer.write(data)
                    await writer.drain()
            case Hang():
                await reader.read()
                return False
            case Close(reset=reset):
                if reset:
                    linger_not(writer)
                    writer.transport.abort()
                else:
                    writer.close()
                    await writer.wait_closed()
                return False
            case _:
                assert_never(action)
    return True


def linger_not(writer: asyncio.StreamWriter) -> None:
    """Make the coming close a reset."""
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _request(head: bytes, connection: int) -> tuple[Request, int]:
    """Return the request, its body still to come, and the size of that body."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = Request(
        method=method,
        path=path,
        head=head,
        headers=tuple(headers),
        body=b"",
        connection=connection,
    )
    return request, int(request.header("Content-Length") or 0)


def _items(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def _head(status: int, headers: Sequence[tuple[str, str]], reason: str | None) -> bytes:
    if reason is None:
        reason = _PHRASES.get(status, "")
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
