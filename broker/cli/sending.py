"""Sends events to a broker's data port, and counts what was accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final, Literal

import msgspec

from broker.codecs.http import Message, encode_batch, encode_binary, encode_structured
from broker.event import Event
from sinks.http import HttpClient, NoAnswer, Response, Route

Mode = Literal["binary", "structured", "batch"]

_TIMEOUT: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send where, and how.

    ``batch_size`` is the number of events in one request, 1 outside batch mode; ``rate`` a
    bound in events per second, None for none.
    """

    url: str
    route: Route
    events: Iterator[Event]
    mode: Mode
    batch_size: int
    concurrency: int
    rate: float | None


@dataclass(slots=True)
class Sent:
    """What became of it. ``failure`` is the first refusal or silence; it ended the sending."""

    accepted: list[str] = field(default_factory=list)
    failure: Response | NoAnswer | None = None


async def send_events(plan: Plan, progress: Callable[[int], None]) -> Sent:
    """Send until all is accepted or something is refused; nothing is sent a second time.

    ``progress`` is called with the number of events of each request that was accepted.
    """
    sent = Sent()
    pace = _Pace(plan.rate)

    async def worker(client: HttpClient) -> None:
        while sent.failure is None and (events := list(islice(plan.events, plan.batch_size))):
            await pace.wait(len(events))
            answer = await _request(client, plan, events)
            if isinstance(answer, Response) and 200 <= answer.status < 300:
                sent.accepted += [event.id for event in events]
                progress(len(events))
            elif sent.failure is None:
                sent.failure = answer

    async with HttpClient() as client, asyncio.TaskGroup() as workers:
        for _ in range(plan.concurrency):
            workers.create_task(worker(client))
    return sent


async def _request(client: HttpClient, plan: Plan, events: Sequence[Event]) -> Response | NoAnswer:
    headers, body = _message(events, plan.mode)
    try:
        return await client.request(
            "POST", plan.url, headers, body, timeout=_TIMEOUT, route=plan.route
        )
    except NoAnswer as silence:
        return silence


def _message(events: Sequence[Event], mode: Mode) -> Message:
    match mode:
        case "binary":
            return encode_binary(events[0])
        case "structured":
            return encode_structured(events[0])
        case "batch":
            return encode_batch(events)


def refusal_text(response: Response) -> str:
    """Return what a refusal says: the detail of its problem document, or else its status."""

    class Problem(msgspec.Struct):
        detail: str

    try:
        detail = msgspec.json.decode(response.body, type=Problem).detail
    except msgspec.DecodeError:
        return f"answered {response.status}"
    return f"answered {response.status}: {detail}"


class _Pace:
    """Lets ``rate`` events a second through, evenly."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next = 0.0

    async def wait(self, events: int) -> None:
        """Return when it is these events' turn."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        turn = max(self._next, now)
        self._next = turn + events / self._rate
        await asyncio.sleep(turn - now)
