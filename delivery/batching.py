"""Hands a subscriber several events in one request, and finds out which of them it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from broker.event import Event
from broker.policy import Batch
from broker.ports import Accepted, Answer, Refused, Verdict
from delivery.verdicts import GONE, judge

_BROKEN_OFF: Final = Refused(reason="the batch was broken off before it was sent", untried=True)
_KEPT: Final = Refused(
    reason="another event of the batch was told that the subscriber is gone",
    untried=True,
    shared=True,
)
Send = Callable[[Sequence[Event]], Awaitable[Answer]]
"""See `broker.ports.BatchSink`."""

_BESIDE: Final = 64
"""Bytes that an event takes in a batch beside its attributes and its payload, roughly."""


@dataclass(eq=False, slots=True)
class _Gathered:
    """Events that go out together, and the answer to each once ``answers`` is done."""

    answers: asyncio.Future[Sequence[Answer]]
    events: list[Event] = field(default_factory=list)
    size: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)


class Batching:
    """A `Sink` that gathers what is attempted at the same time, and sends it as batches: ``send``.

    A batch goes out as soon as it is full, or ``max_wait`` after its first event. It is the first
    event's attempt that sends it, and the others wait for that. A batch that is refused for good
    is split in halves until the event stands alone that is the reason; only that one is refused.
    Where the subscriber is gone (410), that is the first event's, and the others have made no
    attempt. A failure that may pass is that of each event. At most ``at_once`` requests are under
    way.
    """

    def __init__(self, send: Send, batch: Batch, *, at_once: int) -> None:
        self._send = send
        self._batch = batch
        self._room = asyncio.Semaphore(at_once)
        self._gathering: _Gathered | None = None

    async def attempt(self, event: Event) -> Answer:
        """Return the answer to the batch that the event went out in, as far as it is its own."""
        size = _size(event)
        gathered = self._gathering
        if gathered is not None and gathered.size + size > self._batch.max_bytes:
            self._close(gathered)
            gathered = None
        is_first = gathered is None
        if gathered is None:
            answers = asyncio.get_running_loop().create_future()
            gathered = self._gathering = _Gathered(answers)
        place = len(gathered.events)
        gathered.events.append(event)
        gathered.size += size
        if len(gathered.events) >= self._batch.max_events or gathered.size > self._batch.max_bytes:
            self._close(gathered)
        if is_first:
            await self._send_when_full(gathered)
        return (await asyncio.shield(gathered.answers))[place]

    def _close(self, gathered: _Gathered) -> None:
        """Let nothing more into it."""
        gathered.full.set()
        if self._gathering is gathered:
            self._gathering = None

    async def _send_when_full(self, gathered: _Gathered) -> None:
        try:
            try:
                async with asyncio.timeout(self._batch.max_wait.total_seconds()):
                    await gathered.full.wait()
            except TimeoutError:
                self._close(gathered)
            answers = await self._answers(gathered.events)
        except asyncio.CancelledError:
            self._close(gathered)
            gathered.answers.set_result([_BROKEN_OFF] * len(gathered.events))
            raise
        except Exception as error:  # noqa: BLE001 - of which each event's attempt makes an answer
            gathered.answers.set_exception(error)
        else:
            gathered.answers.set_result(answers)

    async def _answers(self, events: Sequence[Event]) -> Sequence[Answer]:
        """Return the answer to each of these."""
        async with self._room:
            answer = await self._send(events)
        if isinstance(answer, Refused) and answer.status == GONE:
            return [answer, *[_KEPT] * (len(events) - 1)]
        if len(events) == 1 or judge(answer) is not Verdict.GIVE_UP:
            return _shared(answer, len(events))
        middle = len(events) // 2
        return [*await self._answers(events[:middle]), *await self._answers(events[middle:])]


def _shared(answer: Answer, count: int) -> Sequence[Answer]:
    """Return the answer for each of so many events. A reply is to the first of them."""
    if isinstance(answer, Accepted):
        return [answer, *[replace(answer, reply=None)] * (count - 1)]
    return [answer, *[replace(answer, shared=True)] * (count - 1)]


def _size(event: Event) -> int:
    """Return about how many bytes the event takes in a batch."""
    attributes = sum(len(name) + len(value) for name, value in event.attributes.items())
    return attributes + len(event.data or b"") + _BESIDE
