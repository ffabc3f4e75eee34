"""The seams of the mesh: what its parts promise each other.

Channels, sinks and sources of others implement these protocols just as our own do. Every
channel passes ``tests/contract/``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Final, Literal, Protocol, Self

from broker.callbacks import Callbacks
from broker.event import Event
from broker.filters import Filter
from broker.policy import Consent, Credentials, Network, Signing, Timeouts
from broker.trigger import ContentMode, Target

Emit = Callable[[Sequence[Event]], Awaitable[None]]
"""Return once all the events are durable, or raise and have stored none of them.

Raises `ChannelUnavailable` or `ChannelFull` where it may be tried again, `InvalidEvent`
where it may not.
"""


# --- sinks ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The subscriber took the event. ``note`` is what is worth telling about its answer."""

    reply: Event | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The subscriber did not take the event.

    ``reason`` says why in a few words, ``status`` is the HTTP status or None where there was
    no answer, ``body`` the first 1,024 bytes of the answer. ``permanent`` is for sinks other
    than HTTP, which know better than a status that trying again is of no use. ``untried`` says
    that nothing was sent, for want of leave to: that is no attempt, and says nothing about the
    subscriber. ``shared`` says that another event got the same answer by the same request.
    """

    reason: str
    status: int | None = None
    body: bytes = b""
    retry_after: timedelta | None = None
    permanent: bool = False
    untried: bool = False
    shared: bool = False


Answer = Accepted | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """What a trigger asks of every attempt: the namespace it is in, its time and its format.

    And what proves to this destination who sends; ``network`` is where the operator lets
    connections lead. ``callbacks`` is None where nobody can call this process back.
    """

    namespace: str
    timeout: timedelta
    timeouts: Timeouts = Timeouts()
    content_mode: ContentMode | None = None
    signing: Signing | None = None
    credentials: Credentials = Credentials()
    consent: Consent | None = None
    network: Network = Network()
    callbacks: Callbacks | None = None


class Sink(Protocol):
    """One destination."""

    async def attempt(self, event: Event) -> Answer:
        """Try once to hand the event over, and say how it went.

        Whatever the destination does is an answer, the lack of one too; an exception means a
        bug. Takes no longer than the ``timeout`` of its options.
        """
        ...


class Underway(Protocol):
    """An attempt that was begun."""

    def cancel(self) -> None:
        """Break it off. Nothing is told of it any more."""
        ...


Told = Answer | Callable[[], Awaitable[Answer]]
"""What an attempt that was begun is answered, or what comes to that."""


class PromptSink(Sink, Protocol):
    """A sink that may begin an attempt without waiting for anything: that saves a task for each."""

    def begin(self, event: Event, done: Callable[[Told], None]) -> Underway | None:
        """Begin an attempt, and later, not before returning, call ``done`` with its answer.

        Or with what comes to its answer, as `attempt` does, where that takes more, such as another
        connection. The ``timeout`` covers both. Returns None where something has to be waited for
        first: then `attempt` is to be called.
        """
        ...


class BatchSink(Sink, Protocol):
    """A destination that takes several events at once, too."""

    async def attempt_together(self, events: Sequence[Event]) -> Answer:
        """Do what `attempt` does, for at least one event, in one request."""
        ...


class Sinks(AbstractAsyncContextManager["Sinks"], Protocol):
    """All destinations of one URL scheme; what they share (connections) lives as long as this."""

    @classmethod
    def check(cls, target: Target) -> str | None:
        """Return why no event can ever be sent there, or None. Asked when a manifest is loaded.

        Connects to nothing. The text does not repeat the URL, which may hold a password.
        """
        ...

    def sink(self, target: Target, options: SinkOptions) -> Sink:
        """Return the sink for that target; connects to nothing yet."""
        ...


class ProvingSinks(Sinks, Protocol):
    """Destinations that can be shown who sends."""

    @classmethod
    def flaw(cls, proof: Signing | Credentials) -> str | None:
        """Return why this can never be shown to anybody, or None. Asked when a manifest is loaded.

        Asked of one key, one header, one client at a time, so that it is known which is meant.
        Connects to nothing. The text shows nothing that is secret.
        """
        ...


# --- sources -------------------------------------------------------------------------------


class Source(Protocol):
    """Where events come from.

    ``Spec`` is the pydantic model of what a manifest's ``spec`` holds beside ``sink`` and
    ``ceOverrides``, and ``spec`` an instance of it; the source is called ``namespace/name``.
    """

    Spec: ClassVar[type[Any]]

    def __init__(
        self,
        spec: Any,  # noqa: ANN401 - an instance of the source's own Spec, which differs from any other
        *,
        namespace: str,
        name: str,
    ) -> None: ...

    async def run(self, emit: Emit) -> None:
        """Emit events until cancelled. What `emit` returned from is durable."""
        ...


# --- claims and what becomes of them --------------------------------------------------------


class Outcome(Enum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a delivery was given up, as the dead letter tells it.

    ``destination`` is the URL that refused, ``status`` absent where there was no answer,
    ``body`` the first 1,024 bytes of the answer, ``attempts`` how many were made.
    """

    destination: str
    reason: str
    status: int | None
    body: bytes
    attempts: int


@dataclass(slots=True, kw_only=True, eq=False)  # frozen, it would take three times as long to make
class Claim:
    """One event held for one trigger until it is settled, deferred, buried or released.

    ``attempts`` counts the attempts made before, also before a restart: to the subscriber,
    or, once ``condemned`` says why the subscriber was given up, to the dead-letter sink.
    ``accepted_at``, which has a time zone, is when the broker took the event, however often it
    was deferred since. ``position`` is opaque to everyone but the channel.
    """

    event: Event
    attempts: int
    condemned: Refusal | None
    accepted_at: datetime
    position: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The outcome is final and stored: settle the claim. ``why`` goes with a dead letter."""

    outcome: Outcome
    why: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Give the claim back for ``delay``, with what is known so far."""

    delay: timedelta
    attempts: int
    condemned: Refusal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """Nobody takes the event: it goes into the broker's own dead-letter store."""

    why: Refusal


Step = Settled | Deferred | Buried
"""What is to become of a claim after an attempt."""

Ended = Settled | Callable[[], Awaitable[Step]]
"""The step that an attempt came to, or what comes to it."""


# --- channels ------------------------------------------------------------------------------


class Cursor(Protocol):
    """A trigger's place in its broker's events.

    What becomes of a claim is noted at once, and stored behind the caller's back.
    """

    def claims(self) -> AsyncIterator[Claim]:
        """Yield every matching event until the subscription ends.

        In no promised order, unless the subscription is ordered. At most ``window`` claims are
        out at any time: the next waits until one is settled, deferred, buried or released. To be
        iterated once.
        """
        ...

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """Record that the claim is done with, in any order. It does not come back.

        A crash shortly after may repeat the delivery; it never skips one.
        """
        ...

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        """Give the claim back, to come again after ``delay`` with these attempts, durably."""
        ...

    def release(self, claim: Claim) -> None:
        """Give the claim back untouched; it comes again at once."""
        ...

    def bury(self, claim: Claim, why: Refusal) -> None:
        """Move the event into the broker's dead-letter store and settle the claim, as one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """A trigger's account. All are counts of events since the trigger first ran.

    ``waiting`` is counted by looking at what waits, not by subtraction, so that
    ``unaccounted`` says something. ``oldest_waiting`` is when that event was accepted.
    """

    matched: int
    delivered: int
    dead_lettered: int
    waiting: int
    oldest_waiting: datetime | None

    @property
    def unaccounted(self) -> int:
        return self.matched - self.delivered - self.dead_lettered - self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was given up for one trigger. ``id`` sorts by time of burial.

    ``trigger`` is empty where others wrote to the broker's topic what is no event, and so for no
    trigger: the event tells what it is.
    """

    id: str
    trigger: str
    event: Event
    why: Refusal
    buried_at: datetime


class DeadLetters(Protocol):
    """A broker's own dead-letter store."""

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """Return up to ``limit`` dead letters, oldest first, that come after the id ``after``."""
        ...

    async def get(self, id: str) -> DeadLetter | None:
        """Return that dead letter, or None where there is none (any more)."""
        ...

    async def remove(self, ids: Sequence[str]) -> int:
        """Remove these dead letters and return how many there were."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """That a trigger gets nothing until it is resumed: ``why``, in words, and since when.

    Where it is about a ``destination``, a trigger that has another one by now is not paused.
    """

    why: str
    since: datetime
    destination: str | None = None


class Pauses(Protocol):
    """Which triggers of a broker are paused: durable, and known to all its processes.

    A channel hands out claims all the same; who delivers heeds it.
    """

    async def all(self) -> Mapping[str, Pause]:
        """Return the triggers that are paused, as far as it is known here.

        What another process has changed is known within a second or so. Raises
        `ChannelUnavailable`.
        """
        ...

    async def put(self, trigger: str, pause: Pause) -> None:
        """Return once it is durable that the trigger is paused.

        Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...

    async def remove(self, trigger: str) -> None:
        """Return once it is durable that the trigger is not paused.

        Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event that a channel still keeps, without its payload.

    ``position`` is opaque to everyone but the channel, ``at`` when the event was accepted,
    ``to`` the one trigger that it is for, or None where the filters decide.
    """

    position: str
    at: datetime
    event: Event
    to: str | None = None


class Archive(Protocol):
    """What a broker keeps, as it can be looked at."""

    @property
    def dead_letters(self) -> DeadLetters: ...

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        """Return up to ``limit`` of the events that are still kept, oldest first.

        Those accepted at ``since`` or later, behind the position ``after``, with that ``id``:
        whatever is given. Raises `ChannelUnavailable`, and `ValueError` where ``after`` is no
        position.
        """
        ...

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Follow what is appended from now on. An observer that is slow misses events."""
        ...


class Channel(Archive, Protocol):
    """The events of one broker, durable, and who has got how far in them."""

    @property
    def pauses(self) -> Pauses: ...

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        """Return once all the events are durable, or raise and have stored none.

        ``to`` names the one trigger that the events are for, whatever its filter says: a
        redrive. Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...

    def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AbstractAsyncContextManager[Cursor]:
        """Subscribe the trigger while the context lasts.

        A trigger that is new starts with what is appended from now on; one that was known
        goes on where it was, unsettled claims and deferred ones first. Subscribing again
        before the first context ended takes the place of the first: its cursor yields no
        more, but can still settle, defer, bury and release what it holds. Claims that are
        out when a context ends are released.

        ``ordered``: events of one ``partitionkey`` (CloudEvents Partitioning Extension) come one
        at a time, in the order in which they were appended, each when the one before is settled
        or buried; also after a restart. While one is deferred, later ones of its key wait, and
        nothing else does, as long as fewer than 1,000 keys are under way or waiting. What was
        claimed before the trigger was ordered comes back in no promised order.
        """
        ...

    async def unsubscribe(self, trigger: str) -> None:
        """Note that the trigger is gone. Should it return, it goes on where it was.

        Its place is kept as long as the retention lets it, and holds no events back.
        """
        ...

    async def triggers(self) -> Collection[str]:
        """Return the triggers that the channel keeps a place for, those that have gone aside."""
        ...

    async def check(self) -> None:
        """Return if events can be stored now; raise `ChannelUnavailable` with the cause if not."""
        ...

    async def accepted(self) -> int:
        """Return how many events were appended since the broker first ran.

        While the store cannot be reached, that is as it was known last.
        """
        ...

    async def books(self) -> Mapping[str, Books]:
        """Return the account of every trigger that is subscribed, as it is known here.

        An outage of the store is no reason not to tell it.
        """
        ...


class FutureChannel(Channel, Protocol):
    """A channel that can store with no task to wait for it, too: one a request costs 10 µs."""

    def submit(self, events: Sequence[Event], *, to: str | None = None) -> asyncio.Future[None]:
        """Do what `Channel.append` does, from now on. What that raises, this or the future does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What every backend is told.

    ``retention_age`` and ``retention_bytes`` bound the history that is kept of events that
    no trigger waits for; events that one waits for are kept whatever they say. ``shard`` is which
    process of the mesh this is, counted from 0: each has a part of a store that only one process
    at a time can have, and ids that no other shard has.
    """

    data_dir: str
    retention_age: timedelta
    retention_bytes: int
    shard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong, or doubtful, at one key of a broker's ConfigMap or Secret.

    ``message`` goes on where the key's name ends, and shows no value of a Secret.
    """

    of: Literal["config", "secret"]
    key: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{_OBJECTS[self.of]}: {self.key}: {self.message}"


_OBJECTS: Final = {"config": "ConfigMap", "secret": "Secret"}


class Backend(AbstractAsyncContextManager["Backend"], Protocol):
    """A storage system: holds the channels of any number of brokers while entered.

    ``shared`` says whether other processes, with backends of their own, can have the same
    channels at the same time; it is taken for True where it is missing. One that is not may have
    ``shards(url, options)``, which returns how many shards there are already.
    """

    shared: ClassVar[bool] = True

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self: ...

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        """Return what is wrong with a broker's configuration. Asked when a manifest is loaded.

        Connects to nothing. What only the URL could tell is no fault.
        """
        ...

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Channel:
        """Return the broker's channel, made if it is new; the same one at every call.

        Raises `ChannelUnavailable`, and another `CemeshError` that tells the faults where
        `check` finds any: a broker of the default class is not checked when it is loaded.
        """
        ...
