"""Publishing that is confirmed: messages that come while others are written go out together."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final, Self

from broker.channels.rabbitmq.confirms import (
    Call,
    ConfirmingChannel,
    Fate,
    Part,
    open_confirming,
)
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.outgoing import Outgoing, frames
from broker.channels.rabbitmq.settings import Settings
from broker.connections.rabbitmq.connecting import HEARTBEAT, at, reported
from broker.connections.rabbitmq.connection import Connection
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable, TooLarge

__all__ = ["Outgoing", "Publishing"]

MAX_PENDING_MESSAGES: Final = 100_000
MAX_PENDING_BYTES: Final = 64 << 20
"""What may wait to be confirmed; beyond, a call is refused."""

_LEAVING: Final = "the mesh is shutting down"
_CONFIRMED_WITHIN: Final = 30.0
_BLOCKED_FOR: Final = 1.0
_LOOKS_EVERY: Final = 0.25
_WRITTEN_AT_ONCE: Final = 256 << 10

# What RabbitMQ says as it closes a channel tells for which messages.
_MAX_SIZE: Final = re.compile(r"message size .* max size (\d+)")
_EXCHANGE: Final = re.compile(r"exchange '([^']*)' in vhost")
_NO_EXCHANGE: Final = "NOT_FOUND - no exchange "
_DEFAULT_EXCHANGE: Final = "amq.default"


class Publishing:
    """Publishes by a connection of its own while entered. Entering raises `ChannelUnavailable`.

    ``ready`` is awaited before a connection is used. Where it raises `ChannelUnavailable`, so does
    whatever is to be published, and it is called again after a second.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        heartbeat: timedelta = HEARTBEAT,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._ready = ready
        self._link = Link(settings, "publisher", heartbeat=heartbeat)
        self._calls: set[Call] = set()
        self._to_write: deque[Part] = deque()
        self._wake = asyncio.Event()
        self._pending_messages = 0
        self._pending_bytes = 0
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as running:
            # Last, when `check` lets nobody in any more.
            running.callback(self._fail_all, ChannelUnavailable(_LEAVING))
            await running.enter_async_context(self._link)
            group = await running.enter_async_context(asyncio.TaskGroup())
            for work in (self._link.keep(self._use), self._watch()):
                running.callback(group.create_task(work).cancel)
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()  # the task group would wrap what was raised in the context

    @property
    def is_out(self) -> bool:
        """Whether RabbitMQ is known not to be reachable, of which was told."""
        return self._link.trouble is not None

    def check(self) -> None:
        """Raise `ChannelUnavailable` while RabbitMQ is out, `ChannelFull` while it has an alarm.

        It tells of an alarm once something is published.
        """
        if self._link.trouble is not None:
            raise ChannelUnavailable(self._link.trouble)
        if self._link.blocked is not None:
            raise self._alarm(self._link.blocked)

    async def publish(self, outgoing: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Return once all are confirmed: each is stored in every queue that there was for it.

        Returned are those that no queue was there for, nor an exchange. Raises `TooLarge` where one
        is larger than the server takes, `ChannelFull` where a queue or the server takes no more,
        and else, within 30 s, `ChannelUnavailable`. Where it raises, any of the messages may be
        stored, or be stored yet, so repeat the call: each is then stored at least once.
        """
        if not outgoing:
            return []
        self.check()
        size = sum(len(each.message.body) for each in outgoing)
        self._admit(len(outgoing), size)
        call = Call(outgoing)
        self._calls.add(call)
        self._to_write.extend(Part(call, place) for place in range(len(outgoing)))
        self._wake.set()
        try:
            await call.settled
        finally:
            self._calls.discard(call)
        return call.unroutable()

    def _admit(self, messages: int, size: int) -> None:
        if self._pending_messages and (
            self._pending_messages + messages > MAX_PENDING_MESSAGES
            or self._pending_bytes + size > MAX_PENDING_BYTES
        ):
            raise ChannelFull(
                f"{self._pending_messages:,} messages ({self._pending_bytes >> 20} MiB) wait to be "
                f"stored in {at(self._settings)}, which does not keep up"
            )
        self._pending_messages += messages
        self._pending_bytes += size

    def _is_gone(self, part: Part) -> None:
        """Count the message no longer, whether or not anybody still waits for it."""
        self._pending_messages -= 1
        self._pending_bytes -= len(part.outgoing.message.body)

    # --- what goes out -------------------------------------------------------------------

    async def _use(self, connection: Connection) -> None:
        """Publish by the connection, until it is lost: over one channel after the other."""
        error = None
        try:
            if self._ready is not None:
                await self._ready()
            while True:
                with reported(self._settings):
                    channel = await open_confirming(connection, self._settle)
                await self._write(channel)
                self._sort_out(channel)
        except ChannelUnavailable as refusal:
            error = refusal
            raise
        finally:
            self._fail_all(error or ChannelUnavailable(self._link.trouble or _LEAVING))
            self._pending_messages = self._pending_bytes = 0

    async def _write(self, channel: ConfirmingChannel) -> None:
        """Write what there is to the channel, until that is closed."""
        channel.on_end = self._wake.set
        while channel.end is None:
            if self._to_write:
                await channel.write(self._next(channel))
            else:
                self._wake.clear()
                await self._wake.wait()

    def _next(self, channel: ConfirmingChannel) -> Iterator[tuple[Part, Sequence[bytes]]]:
        size = 0
        while self._to_write and size < _WRITTEN_AT_ONCE:
            part = self._to_write.popleft()
            sent = self._frames(part, channel)
            if sent is None:
                self._is_gone(part)
            else:
                size += sum(map(len, sent))
                yield part, sent

    def _frames(self, part: Part, channel: ConfirmingChannel) -> Sequence[bytes] | None:
        """Return the frames of a message, or None where it is not to be sent."""
        if part.call.settled.done():
            return None
        frame_max = channel.connection.connection_tune.frame_max
        try:
            return list(frames(part.outgoing, channel=channel.number, frame_max=frame_max))
        except (TooLarge, ValueError) as error:  # the latter is a bug, but of that call alone
            part.call.fail(error)
            return None

    # --- what became of it ---------------------------------------------------------------

    def _settle(self, part: Part, fate: Fate) -> None:
        self._is_gone(part)
        if fate is Fate.REFUSED:
            part.call.fail(
                ChannelFull(
                    f"{at(self._settings)} did not take a message for {_where(part.outgoing)}: a "
                    "queue there is full (its policy or arguments say how long it may get), or "
                    "has failed"
                )
            )
        else:
            part.call.confirmed(part.place, is_routed=fate is Fate.STORED)

    def _sort_out(self, channel: ConfirmingChannel) -> None:
        """Tell whose messages the server closed the channel for; the others go out once more."""
        text = str(channel.end)
        parts = channel.unconfirmed
        again = [part for part in parts if not self._is_to_blame(part, text)]
        self._to_write.extendleft(reversed(again))
        if len(again) == len(parts):
            self._fail_all(ChannelUnavailable(f"{at(self._settings)} closed a channel: {text}"))

    def _is_to_blame(self, part: Part, text: str) -> bool:
        """Say what became of the message, if it is for such a one that the channel was closed."""
        outgoing, call = part.outgoing, part.call
        size = len(outgoing.message.body)
        limit, exchange = _MAX_SIZE.search(text), _EXCHANGE.search(text)
        if limit is not None and size > int(limit[1]):
            call.fail(
                TooLarge(
                    f"the message has {size:,} bytes, more than the {int(limit[1]):,} that "
                    f"{at(self._settings)} takes (max_message_size)"
                )
            )
        elif exchange is None or exchange[1] != (outgoing.exchange or _DEFAULT_EXCHANGE):
            return False
        elif text.startswith(_NO_EXCHANGE):
            call.confirmed(part.place, is_routed=False)
        else:
            call.fail(
                ChannelUnavailable(
                    f"{at(self._settings)}: {text}; does the user have the permission to write?"
                )
            )
        self._is_gone(part)
        return True

    def _alarm(self, why: str) -> ChannelFull:
        return ChannelFull(
            f"{at(self._settings)} takes no messages while it has an alarm: {why}; see "
            "`rabbitmq-diagnostics alarms`"
        )

    def _fail_all(self, error: CemeshError) -> None:
        for call in self._calls:
            call.fail(error)
        while self._to_write:
            self._is_gone(self._to_write.popleft())

    async def _watch(self) -> None:
        """Fail what takes too long: for 30 s, or a second after the server has told an alarm.

        What it has read by then, it will have confirmed. The rest may be stored after the alarm.
        """
        loop = asyncio.get_running_loop()
        since: float | None = None
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            now, blocked = loop.time(), self._link.blocked
            for call in self._calls:
                if call.since < now - _CONFIRMED_WITHIN:
                    call.fail(self._late(call))
            if blocked is None:
                since = None
            elif since is None:
                since = now
            elif since <= now - _BLOCKED_FOR:
                self._fail_all(self._alarm(blocked))

    def _late(self, call: Call) -> ChannelUnavailable:
        return ChannelUnavailable(
            f"{at(self._settings)} has not confirmed a message for {_where(call.outgoing[0])} "
            f"within {_CONFIRMED_WITHIN:.0f} s: a quorum queue there may have lost the majority of "
            "its servers, or it does not keep up"
        )


def _where(outgoing: Outgoing) -> str:
    if outgoing.exchange:
        return f"the exchange '{outgoing.exchange}'"
    return f"the queue '{outgoing.routing_key}'"
