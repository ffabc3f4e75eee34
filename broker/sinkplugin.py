"""Makes a sink of what an entry point, or ``spec.class`` of a manifest, leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, cast

from broker.asked import asked
from broker.event import Event
from broker.ports import Answer, KindSink, SinkContext

API_VERSION: Final = "sinks.cemesh.dev/v1alpha1"
"""That of every kind of sink whose plug-in names no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPlugin:
    """A kind of sink that is installed. See `broker.ports.KindSink`.

    ``model`` is the pydantic model or dataclass that a manifest's ``spec`` is read by, None where a
    sink takes none. ``make`` returns the sink, and what it is within while it is used.
    """

    model: type[Any] | None
    api_versions: tuple[str, ...]
    make: Callable[[object, SinkContext], tuple[KindSink, AbstractAsyncContextManager[object]]]


def sink_plugin(loaded: object, origin: str) -> SinkPlugin:
    """Return what ``loaded``, a class or a coroutine function, is as a sink.

    Raises `PluginNotFound`, which says what about ``origin`` keeps it from being one.
    """
    found = asked(loaded, origin, method="attempt", argument="event", api_version=API_VERSION)
    return SinkPlugin(
        model=found.model,
        api_versions=found.api_versions,
        make=_maker(cast("Callable[..., Any]", loaded), found.taken),
    )


def _maker(
    loaded: Callable[..., Any], taken: tuple[str, ...]
) -> Callable[[object, SinkContext], tuple[KindSink, AbstractAsyncContextManager[object]]]:
    def make(
        spec: object, context: SinkContext
    ) -> tuple[KindSink, AbstractAsyncContextManager[object]]:
        values = {"spec": spec, "context": context}
        wanted = {name: values[name] for name in taken if name != "event"}
        if "event" in taken:
            return _Called(loaded, wanted), nullcontext()
        made = loaded(**wanted)
        return made, made if hasattr(made, "__aenter__") else nullcontext()

    return make


class _Called:
    """A sink that is a function."""

    def __init__(
        self,
        function: Callable[..., Awaitable[Answer | Event | None]],
        given: Mapping[str, object],
    ) -> None:
        self._function = function
        self._given = given

    async def attempt(self, event: Event) -> Answer | Event | None:
        return await self._function(event=event, **self._given)
