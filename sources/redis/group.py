"""A consumer group of a stream: what it gives out, what it takes back, and where it begins."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from broker.connections.redis import code_of, in_time
from sources.redis.entries import Entry

_TOGETHER: Final = 200
_FIRST: Final = 10
_BYTES_TOGETHER: Final = 4 << 20
"""What is read, and emitted, together: entries at most, so many of a stream that nobody knows yet,
and bytes, as far as entries are as large as those that were read last."""

BEGINNING: Final = "0-0"

_BLOCKS: Final = timedelta(seconds=1)


@cache
def consumer(process: int) -> str:
    """Return the name of a process, the same for all runs in it: one finds what another has left.

    Of another machine, or after a restart, a process of that id has another name.
    """
    return f"{socket.gethostname()}-{process}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries that are ours to acknowledge, and the ids of those that are deleted meanwhile."""

    entries: Sequence[Entry] = ()
    deleted: Sequence[str] = ()

    @property
    def ids(self) -> Sequence[str]:
        return [*(each.id for each in self.entries), *self.deleted]


class Group:
    """One consumer of a group. Each method raises what redis-py does."""

    def __init__(self, client: Redis, stream: str, name: str) -> None:
        self._client = client
        self._stream = stream
        self._name = name
        self._consumer = consumer(os.getpid())
        self._next_claim = BEGINNING
        self._count = _FIRST

    async def place(self) -> str | None:
        """Return after which entry the group goes on; None where there is no such group."""
        group = await self._info()
        return None if group is None else _text(group[b"last-delivered-id"])

    async def end(self) -> str:
        """Return the id of the entry that was added last, also where it is deleted."""
        try:
            stream = await self._ask("XINFO", "STREAM", self._stream)
        except ResponseError as error:
            if "no such key" in str(error):
                return BEGINNING
            raise
        return _text(_mapping(stream)[b"last-generated-id"])

    async def make(self, after: str) -> bool:
        """Have a group that begins after that entry, and a stream; return whether it is new."""
        try:
            await self._ask("XGROUP", "CREATE", self._stream, self._name, after, "MKSTREAM")
        except ResponseError as error:
            if code_of(error) == "BUSYGROUP":
                return False
            raise
        return True

    async def left(self) -> Batch:
        """Return what this consumer was given before, and has not acknowledged."""
        return await self._read("STREAMS", self._stream, BEGINNING)

    async def new(self) -> Batch:
        """Return what nobody was given yet; nothing where nothing comes for a second."""
        milliseconds = _BLOCKS // timedelta(milliseconds=1)
        return await self._read("BLOCK", milliseconds, "STREAMS", self._stream, ">")

    async def claimed(self, after: timedelta) -> Batch:
        """Take over what others have not acknowledged for so long. Nothing ends a walk over all."""
        answer = await self._ask(
            "XAUTOCLAIM",
            *(self._stream, self._name, self._consumer, after // timedelta(milliseconds=1)),
            *(self._next_claim, "COUNT", self._count),
        )
        self._next_claim = _text(answer[0])
        # From Redis 7.0 on, those that are deleted are listed, and acknowledged by it.
        return self._batch(answer[1], deleted=answer[2] if len(answer) > 2 else ())

    @property
    def claims_more(self) -> bool:
        """Whether the walk over what others have not acknowledged is not at its end."""
        return self._next_claim != BEGINNING

    async def acknowledge(self, ids: Sequence[str]) -> None:
        await self._ask("XACK", self._stream, self._name, *ids)

    async def waiting(self) -> int | None:
        """Return how many entries are not acknowledged; None where Redis cannot tell."""
        group = await self._info() or {}
        lag, pending = group.get(b"lag"), group.get(b"pending")
        return None if lag is None or pending is None else int(lag) + int(pending)

    async def _ask(self, *command: str | int) -> Any:  # noqa: ANN401 - whatever Redis answers
        execute: Callable[..., Awaitable[Any]] = self._client.execute_command
        return await in_time(execute(*command))

    async def _info(self) -> Mapping[bytes, Any] | None:
        try:
            groups = await self._ask("XINFO", "GROUPS", self._stream)
        except ResponseError as error:
            if "no such key" in str(error):
                return None
            raise
        named = {each[b"name"]: each for each in map(_mapping, groups)}
        return named.get(self._name.encode())

    async def _read(self, *rest: str | int) -> Batch:
        answer = await self._ask(
            "XREADGROUP", "GROUP", self._name, self._consumer, "COUNT", self._count, *rest
        )
        return self._batch(answer[0][1]) if answer else Batch()

    def _batch(self, listed: Sequence[Any], deleted: Sequence[bytes] = ()) -> Batch:
        found = [each for each in listed if each is not None]
        gone = [_text(each) for each, fields in found if fields is None]
        entries = [
            Entry(id=_text(each), fields=list(zip(fields[::2], fields[1::2], strict=True)))
            for each, fields in found
            if fields is not None
        ]
        if entries:
            size = sum(each.size for each in entries) // len(entries)
            self._count = max(1, min(_TOGETHER, _BYTES_TOGETHER // max(1, size)))
        return Batch(entries=entries, deleted=[*gone, *map(_text, deleted)])


def _mapping(answer: Sequence[Any]) -> Mapping[bytes, Any]:
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _text(entry_id: bytes) -> str:
    return entry_id.decode("ascii")
