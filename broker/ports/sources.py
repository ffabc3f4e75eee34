"""Where events come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from broker.event import Event

Emit = Callable[[Sequence[Event]], Awaitable[None]]
"""Return once all the events are durable, or raise and have stored none of them.

Raises `ChannelUnavailable` or `ChannelFull` where it may be tried again, `InvalidEvent`
where it may not.
"""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class SdkEvent(Protocol):
    """An event of the CloudEvents SDK."""

    def get_attributes(self) -> Mapping[str, object]: ...

    def get_data(self) -> object: ...


Emitted = Event | SdkEvent


class Emitter(Protocol):
    """A source's way into its broker.

    What it returns from is durable, so that it can be acknowledged upstream. Of several events all
    are stored, or none. A crash can have stored what was not returned from: an event that comes
    again keeps its ``source`` and ``id``.
    """

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        """Return once the events are durable, however long the broker cannot take them.

        Raises `InvalidEvent`, which the same events always will.
        """
        ...

    async def at_once(self, events: Emitted | Iterable[Emitted]) -> None:
        """Do so now or not: raise `ChannelUnavailable` or `ChannelFull` instead of waiting."""
        ...


class SourceContext(Protocol):
    """What the mesh does for a source that runs.

    ``uri`` is what its events have as their ``source``, unless they know better:
    ``/apis/v1/namespaces/NAMESPACE/KINDs/NAME``, in lower case, as Knative has it. ``extensions``
    is what ``ceOverrides`` adds to each of its events, which the mesh sees to.
    """

    @property
    def kind(self) -> str: ...

    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def uri(self) -> str: ...

    @property
    def extensions(self) -> Mapping[str, str]: ...

    async def load(self) -> Any:  # noqa: ANN401 - whatever JSON the source has saved
        """Return the place that was saved last, by whichever process; None where none was.

        Waits as long as the broker's store is away.
        """
        ...

    async def save(self, place: Json) -> None:
        """Return once it is durable how far the source has come: at most 64 KiB of JSON.

        Save what has been emitted, after that returned, and a crash repeats events and loses none.
        Waits as long as the broker's store is away. Raises `ValueError` where it is too long.
        """
        ...

    async def reject(self, why: str, *, id: str, data: bytes | None = None) -> None:
        """Put what came, and can become no event, into the broker's dead-letter store.

        ``id`` says which it is, ``data`` is what it is, as it came. Returns once that is durable,
        so that it can be acknowledged upstream; waits as long as the broker's store is away.
        """
        ...

    def healthy(self) -> None:
        """Tell operators that all is well upstream: that there is a connection, say."""
        ...

    def unhealthy(self, why: str) -> None:
        """Tell operators what is wrong upstream, while the source goes on trying."""
        ...

    def lag(self, events: int | None, *, since: datetime | None = None) -> None:
        """Tell operators how many events wait upstream, and since when the oldest has waited."""
        ...


class Source(Protocol):
    """A source, made anew for each run.

    What makes it, a class mostly, takes any of ``spec`` and ``context``, by these names. It may
    say, as attributes: ``Spec``, the pydantic model or dataclass that ``spec`` is made by, of what
    a manifest has in its ``spec`` beside ``sink`` and ``ceOverrides`` (or the annotation of
    ``spec`` says that); ``api_versions``, those of its kind (``sources.cemesh.dev/v1alpha1`` by
    default); ``alone``, True where only one process at a time shall run it.

    A coroutine function is a source as well, that takes ``emit`` and any of these.
    """

    async def run(self, emit: Emitter) -> None:
        """Emit events until cancelled.

        One that ends or raises is run again after a while, which grows: for what is amiss upstream,
        raise `UpstreamUnavailable`, which says so in one line.
        """
        ...
