"""Calls between two processes of one mesh, over a pair of sockets that nobody else can reach.

Values are pickled: both ends run the same code, and one was started by the other.
"""

from __future__ import annotations

import asyncio
import logging
import pickle  # see above
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Literal, cast

from broker.errors import ChannelUnavailable

_log: Final = logging.getLogger("cemesh.workers")

Handler = Callable[..., Awaitable[Any]]
Stream = Callable[..., AbstractAsyncContextManager[AsyncIterator[Any]]]

_LENGTH: Final = struct.Struct("!I")

_UNANSWERED: Final = 0

_Verb = Literal["call", "follow", "leave", "return", "raise", "item"]
_Frame = tuple[_Verb, int, Any]

_ITEMS: Final = 1_000
"""Items of a stream that wait for whoever follows it; what comes beyond is missed."""


class Link(asyncio.Protocol):
    """One end. What the other end calls are the ``handlers`` here, by name, and the reverse.

    A handler that returns a future costs no task. ``streams`` can be followed. ``other`` says who
    is at the other end, in an error, and ``on_lost`` is called once nobody is any more.
    """

    def __init__(
        self,
        other: str,
        *,
        handlers: Mapping[str, Handler],
        streams: Mapping[str, Stream] | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._other = other
        self._handlers = handlers
        self._streams = streams or {}
        self._on_lost = on_lost
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._followed: dict[int, asyncio.Queue[Any]] = {}
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_call = 0
        self._writable = asyncio.Event()
        self._writable.set()

    async def open(self, end: socket.socket) -> None:
        """Begin to talk over this end of the pair."""
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self, end)

    def close(self) -> None:
        """Say no more. The other end notices."""
        if self._transport is not None:
            self._transport.close()

    # --- calling ---------------------------------------------------------------------------

    def call(self, name: str, *args: object, **options: object) -> asyncio.Future[Any]:
        """Have the other end do that; the future has what it returns, or raises what it raises.

        `ChannelUnavailable` where nobody is at the other end, or not until it was done.
        """
        self._last_call += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._transport is None:
            future.set_exception(self._gone())
            return future
        self._calls[self._last_call] = future
        self._send("call", self._last_call, (name, args, options))
        return future

    def tell(self, name: str, *args: object) -> None:
        """Have the other end do that, if there is one, and wait for nothing."""
        self._send("call", _UNANSWERED, (name, args, {}))

    @asynccontextmanager
    async def follow(self, name: str, *args: object) -> AsyncIterator[AsyncIterator[Any]]:
        """Follow a stream of the other end; it is being followed once this is entered.

        The items end where the other end does. Some are missed by one who is slow.
        """
        queue: asyncio.Queue[Any] = asyncio.Queue(_ITEMS)
        if self._transport is None:
            raise self._gone()
        self._last_call += 1
        number = self._last_call
        self._followed[number] = queue
        self._calls[number] = asyncio.get_running_loop().create_future()
        self._send("follow", number, (name, args))
        try:
            await self._calls[number]
            yield _drain(queue)
        finally:
            self._calls.pop(number, None)
            if self._followed.pop(number, None) is not None:
                self._send("leave", number, None)

    # --- what the transport says -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        while len(received) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, start)
            end = start + _LENGTH.size + length
            if len(received) < end:
                break
            with memoryview(received) as view:
                frame = pickle.loads(view[start + _LENGTH.size : end])  # noqa: S301 - our own
            self._heard(frame)
            start = end
        del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        for call in self._calls.values():
            if not call.done():
                call.set_exception(self._gone())
        self._calls.clear()
        for number in self._followed:
            self._end(number)
        self._followed.clear()
        for task in self._tasks:
            task.cancel()
        self._on_lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- answering -------------------------------------------------------------------------

    def _heard(self, frame: _Frame) -> None:
        verb, number, told = frame
        match verb:
            case "call":
                self._serve(number, *told)
            case "follow":
                self._keep(number, self._show(number, *told))
            case "leave":
                if number in self._serving:
                    self._serving[number].cancel()
            case "item":
                if number in self._followed:
                    _put(self._followed[number], told)
            case "return" | "raise":
                call = self._calls.pop(number, None)
                if call is None or call.done():
                    self._end(number)
                elif verb == "return":
                    call.set_result(told)
                else:
                    call.set_exception(told)

    def _serve(
        self, number: int, name: str, args: tuple[object, ...], options: Mapping[str, object]
    ) -> None:
        try:
            doing = self._handlers[name](*args, **options)
        except Exception as error:  # noqa: BLE001 - it is raised at the other end
            self._raise(number, error)
            return
        if isinstance(doing, asyncio.Future):
            doing.add_done_callback(lambda done: self._answer(number, done))
        else:
            self._keep(number, self._do(number, doing))

    def _answer(self, number: int, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self._raise(number, ChannelUnavailable(f"{self._other} gave it up"))
        elif (error := done.exception()) is not None:
            self._raise(number, error)
        else:
            self._send("return", number, done.result())

    async def _do(self, number: int, doing: Awaitable[Any]) -> None:
        try:
            result = await doing
        except Exception as error:  # noqa: BLE001 - it is raised at the other end
            self._raise(number, error)
        else:
            self._send("return", number, result)

    async def _show(self, number: int, name: str, args: tuple[object, ...]) -> None:
        try:
            async with self._streams[name](*args) as items:
                self._send("return", number, None)
                async for item in items:
                    await self._writable.wait()
                    self._send("item", number, item)
        except Exception as error:  # noqa: BLE001 - it is raised at the other end
            self._raise(number, error)

    def _end(self, number: int) -> None:
        """End what is followed, as it has failed at the other end."""
        if number in self._followed:
            _put(self._followed[number], _END, at_any_rate=True)

    def _keep(self, number: int, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if number != _UNANSWERED:
            self._serving[number] = task
            task.add_done_callback(lambda _: self._serving.pop(number, None))

    def _raise(self, number: int, error: BaseException) -> None:
        try:
            self._send("raise", number, error)
        except Exception:  # noqa: BLE001 - whatever an error holds that cannot be pickled
            self._send("raise", number, RuntimeError(f"{type(error).__name__}: {error}"))

    def _send(self, verb: _Verb, number: int, told: object) -> None:
        if number == _UNANSWERED and verb != "call":
            return
        frame = pickle.dumps((verb, number, told), pickle.HIGHEST_PROTOCOL)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_LENGTH.pack(len(frame)) + frame)

    def _gone(self) -> ChannelUnavailable:
        return ChannelUnavailable(f"{self._other} does not run now")


_END: Final = object()


def _put(queue: asyncio.Queue[Any], item: object, *, at_any_rate: bool = False) -> None:
    if queue.full() and at_any_rate:
        queue.get_nowait()
    if not queue.full():
        queue.put_nowait(item)


async def _drain(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (item := await queue.get()) is not _END:
        yield item
