"""Where events go: one attempt in, an answer out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from broker.callbacks import Callbacks
from broker.event import Event
from broker.policy import Consent, Credentials, Network, Signing, Timeouts
from broker.trigger import ContentMode, Target

Headers = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values: of an answer that came by HTTP."""


@dataclass(slots=True, kw_only=True)  # frozen, it would take three times as long to make
class Accepted:
    """The subscriber took the event. ``note`` is what is worth telling about its answer.

    ``status``, ``headers`` and ``body``, the first 1,024 bytes of it, are those of an HTTP answer:
    for people, and nothing that makes it another answer.
    """

    reply: Event | None = None
    note: str | None = None
    status: int | None = field(default=None, compare=False)
    headers: Headers = field(default=(), compare=False)
    body: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The subscriber did not take the event.

    ``reason`` says why in a few words, ``status`` is the HTTP status or None where there was
    no answer, ``headers`` and ``body``, the first 1,024 bytes of it, are those of the answer.
    ``permanent`` is for sinks other than HTTP, which know better than a status that trying again
    is of no use. ``untried`` says that nothing was sent, for want of leave to: that is no attempt,
    and says nothing about the subscriber. ``shared`` says that another event got the same answer
    by the same request.
    """

    reason: str
    status: int | None = None
    headers: Headers = field(default=(), compare=False)
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


class SinkContext(Protocol):
    """What a sink of a kind knows of itself: the object of the manifest that describes it.

    And of the mesh: ``network`` is where the operator lets connections to URLs lead.
    """

    @property
    def kind(self) -> str: ...

    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def network(self) -> Network: ...


class KindSink(Protocol):
    """A destination that a manifest describes by an object of its own, as `KafkaSink` is.

    What makes it, a class mostly, takes any of ``spec`` and ``context``, by these names, as a
    `Source` does, and may have ``Spec`` and ``api_versions`` as that. One is made for each object,
    and serves all triggers that lead to it, many attempts at a time. Where it is an asynchronous
    context manager, it is entered before the first attempt and left after the last.

    A coroutine function is a sink as well, that takes ``event`` and any of these.
    """

    async def attempt(self, event: Event) -> Answer | Event | None:
        """Try once to hand the event over, and say how it went. A reply, or None, is accepted.

        What it raises means that it was not; what takes longer than the trigger's timeout is
        cancelled, and was not either. Either is tried again, as any refusal that is not permanent.
        """
        ...
