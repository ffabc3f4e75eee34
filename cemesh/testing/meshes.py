"""A whole mesh in memory, whose triggers deliver to recorders."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from broker.errors import UnknownBroker, UnknownTrigger, did_you_mean
from broker.event import Event
from broker.manifest import load
from broker.mesh import Mesh
from broker.ports import Answer, BackendOptions, Books, DeadLetter
from broker.trigger import Broker, Desired, SinkObject, Target, Trigger

SOON: Final = timedelta(seconds=30)
DEFAULT_BROKER: Final = "default/default"

_ENDS_WITHIN: Final = timedelta(seconds=10)
_LOOK_AGAIN: Final = 0.005
_AT_ONCE: Final = timedelta(milliseconds=1)
_ALL: Final = 1_000_000
_OPTIONS: Final = BackendOptions(
    data_dir="", retention_age=timedelta(days=1), retention_bytes=256 << 20
)

Reaction = Answer | Event | Exception | None
"""What a recorder does with an attempt: answers, replies, raises, or (None) just takes it."""


@dataclass(kw_only=True, eq=False)
class _Recorder:
    """What came to one trigger's subscriber, and what it is to do with what comes.

    ``replied`` is what came to where its replies go, if that is out of the mesh.
    """

    replied: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    attempted: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    reactions: deque[Reaction] = field(default_factory=deque)


class _Recording:
    """A sink that records."""

    def __init__(self, spec: _Recorder) -> None:
        self._recorder = spec

    async def attempt(self, event: Event) -> Answer | Event | None:
        self._recorder.attempted.put_nowait(event)
        reaction = self._recorder.reactions.popleft() if self._recorder.reactions else None
        if isinstance(reaction, Exception):
            raise reaction
        return reaction


class _RecordingReplies:
    """A sink that records what a subscriber has replied."""

    def __init__(self, spec: _Recorder) -> None:
        self._recorder = spec

    async def attempt(self, event: Event) -> None:
        self._recorder.replied.put_nowait(event)


@asynccontextmanager
async def mesh(*manifests: Path | str, with_sources: bool = False) -> AsyncIterator[RunningMesh]:
    """Run the manifests in memory: files and folders as paths, or YAML as text.

    Every trigger delivers to a recorder in place of its subscriber. Waits between attempts are cut
    to a millisecond, no trigger pauses by itself, batches come event by event, and dead letters
    that would leave the mesh stay in their broker's store, as replies are recorded that would; all
    else is as the manifests say: filters, retries, order. Sources run only ``with_sources``. Raises
    `InvalidManifest` with everything that is wrong with the manifests.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            each if isinstance(each, Path) else _written(each, Path(folder, f"{number}.yaml"))
            for number, each in enumerate(manifests)
        ]
        desired = await asyncio.to_thread(lambda: load(paths).desired)
    recorders = {key: _Recorder() for key in desired.triggers}
    changed = Desired(
        brokers={key: _in_memory(each) for key, each in desired.brokers.items()},
        triggers={key: _recorded(each, recorders[key]) for key, each in desired.triggers.items()},
        sources=desired.sources if with_sources else {},
    )
    async with Mesh(channel="memory:", options=_OPTIONS, drain_timeout=_ENDS_WITHIN) as running:
        await running.apply(changed)
        yield RunningMesh(running, recorders)


def _written(text: str, file: Path) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def _in_memory(broker: Broker) -> Broker:
    return replace(broker, channel=None, config={}, secret={})


def _recorded(trigger: Trigger, recorder: _Recorder) -> Trigger:
    dead_letter, reply = trigger.delivery.dead_letter, trigger.delivery.reply
    delivery = replace(
        trigger.delivery,
        dead_letter=dead_letter if _stays(dead_letter) else None,
        reply=reply
        if reply is None or _stays(reply)
        else _to(_RecordingReplies, trigger, recorder),
        backoff_delay=_AT_ONCE,
        backoff_cap=_AT_ONCE,
        breaker=None,
        signing=None,
        consent=None,
        batch=None,
    )
    return replace(trigger, subscriber=_to(_Recording, trigger, recorder), delivery=delivery)


def _stays(target: Target | None) -> bool:
    """Return whether what goes there stays in the mesh."""
    return target is not None and target.url.startswith("broker:")


def _to(sink: type, trigger: Trigger, recorder: _Recorder) -> Target:
    made = SinkObject(
        kind=sink.__name__, key=trigger.key, spec=recorder, at=f"{__name__}:{sink.__name__}"
    )
    return Target(url=made.url, sink=made)


class RunningMesh:
    """A mesh that runs in memory: events go in, and what each trigger got comes out. See `mesh`."""

    def __init__(self, running: Mesh, recorders: dict[str, _Recorder]) -> None:
        self._running = running
        self._recorders = recorders

    async def send(self, *events: Event, broker: str = DEFAULT_BROKER) -> None:
        """Return once the broker ``namespace/name`` has stored the events.

        Raises `UnknownBroker`.
        """
        entrance = self._running.find(broker)
        if entrance is None:
            raise UnknownBroker(f"the mesh has no broker {broker}")
        await entrance.emit(events)

    def react(self, trigger: str, *reactions: Reaction) -> None:
        """Have the next attempts of the trigger ``namespace/name`` end so, each after the other.

        After the last of them, everything is accepted. Raises `UnknownTrigger`.
        """
        self._recorder(trigger).reactions.extend(reactions)

    async def attempts(
        self, trigger: str, count: int = 1, *, within: timedelta = SOON
    ) -> list[Event]:
        """Return the events of the next ``count`` attempts of the trigger, in their order.

        Raises `UnknownTrigger`, and `AssertionError` where there are fewer within that time.
        """
        return await _next(count, self._recorder(trigger).attempted, f"{trigger} attempted", within)

    async def replies(
        self, trigger: str, count: int = 1, *, within: timedelta = SOON
    ) -> list[Event]:
        """Return the next ``count`` replies that the trigger's DeliveryPolicy sent out of the mesh.

        Raises as `attempts` does.
        """
        return await _next(count, self._recorder(trigger).replied, f"{trigger} got replies", within)

    async def settled(self, *, within: timedelta = SOON) -> None:
        """Return once nothing waits in any trigger: all is delivered, or a dead letter.

        Raises `AssertionError` where something still does, with what.
        """
        waiting: dict[str, int] = {}
        try:
            async with asyncio.timeout(within.total_seconds()):
                while waiting := await self._waiting():
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            raise AssertionError(f"events wait: {waiting}") from None

    async def books(self, trigger: str) -> Books:
        """Return the account of the trigger. Raises `UnknownTrigger`."""
        self._recorder(trigger)
        broker = self._running.trigger(trigger).broker
        return (await self._running.channel(broker).books())[trigger]

    async def dead_letters(self, broker: str = DEFAULT_BROKER) -> Sequence[DeadLetter]:
        """Return what lies in the broker's own dead-letter store. Raises `UnknownBroker`."""
        return await self._running.channel(broker).dead_letters.list(limit=_ALL)

    def _recorder(self, trigger: str) -> _Recorder:
        if trigger not in self._recorders:
            hint = did_you_mean(trigger, self._recorders)
            raise UnknownTrigger(f"the mesh has no trigger {trigger}{hint}")
        return self._recorders[trigger]

    async def _waiting(self) -> dict[str, int]:
        status = await self._running.status()
        return {
            trigger.key: trigger.books.waiting
            for broker in status.brokers
            for trigger in broker.triggers
            if trigger.books.waiting
        }


async def _next(
    count: int, queue: asyncio.Queue[Event], what: str, within: timedelta
) -> list[Event]:
    found: list[Event] = []
    try:
        async with asyncio.timeout(within.total_seconds()):
            while len(found) < count:
                found.append(await queue.get())
    except TimeoutError:
        ids = [each.id for each in found]
        raise AssertionError(f"{what} {ids}, and no {count}") from None
    return found
