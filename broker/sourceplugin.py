"""Makes a source of what an entry point, or ``spec.class`` of a manifest, leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from broker.asked import asked
from broker.ports import Emitter, Source, SourceContext

API_VERSION: Final = "sources.cemesh.dev/v1alpha1"
"""That of every kind of source whose plug-in names no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlugin:
    """A kind of source that is installed.

    ``model`` is the pydantic model or dataclass that a manifest's ``spec`` is read by, None where a
    source takes none. ``alone``: one process at a time is to run it. See `broker.ports.Source`.
    """

    model: type[Any] | None
    api_versions: tuple[str, ...]
    alone: bool
    make: Callable[[object, SourceContext], Source]


def source_plugin(loaded: object, origin: str) -> SourcePlugin:
    """Return what ``loaded``, a class or a coroutine function, is as a source.

    Raises `PluginNotFound`, which says what about ``origin`` keeps it from being one.
    """
    found = asked(loaded, origin, method="run", argument="emit", api_version=API_VERSION)
    return SourcePlugin(
        model=found.model,
        api_versions=found.api_versions,
        alone=bool(getattr(loaded, "alone", False)),
        make=_maker(cast("Callable[..., Any]", loaded), found.taken),
    )


def _maker(
    loaded: Callable[..., Any], taken: tuple[str, ...]
) -> Callable[[object, SourceContext], Source]:
    def make(spec: object, context: SourceContext) -> Source:
        values = {"spec": spec, "context": context}
        wanted = {name: values[name] for name in taken if name != "emit"}
        if "emit" in taken:
            return _Called(loaded, wanted)
        made: Source = loaded(**wanted)
        return made

    return make


class _Called:
    """A source that is a function."""

    def __init__(
        self, function: Callable[..., Awaitable[None]], given: Mapping[str, object]
    ) -> None:
        self._function = function
        self._given = given

    async def run(self, emit: Emitter) -> None:
        await self._function(emit=emit, **self._given)
