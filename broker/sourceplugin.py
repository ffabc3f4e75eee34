"""Makes a source of what an entry point, or ``spec.class`` of a manifest, leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from broker.asked import asked
from broker.ports import Emitter, SourceContext

API_VERSION: Final = "sources.cemesh.dev/v1alpha1"
"""That of every kind of source whose plug-in names no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlugin:
    """A kind of source that is installed.

    ``model`` is the pydantic model or dataclass that a manifest's ``spec`` is read by, None where a
    source takes none. ``alone``: one process at a time is to run it. ``receives``: it is a
    `broker.ports.Receiver`, and not a `broker.ports.Source`, which is what ``make`` returns.
    """

    model: type[Any] | None
    api_versions: tuple[str, ...]
    alone: bool
    receives: bool
    make: Callable[[object, SourceContext], Any]


def source_plugin(loaded: object, origin: str) -> SourcePlugin:
    """Return what ``loaded``, a class or a coroutine function, is as a source.

    Raises `PluginNotFound`, which says what about ``origin`` keeps it from being one.
    """
    receives = hasattr(loaded, "receive") and not hasattr(loaded, "run")
    method, argument = ("receive", "request, emit") if receives else ("run", "emit")
    found = asked(loaded, origin, method=method, argument=argument, api_version=API_VERSION)
    return SourcePlugin(
        model=found.model,
        api_versions=found.api_versions,
        alone=bool(getattr(loaded, "alone", False)),
        receives=receives,
        make=_maker(cast("Callable[..., Any]", loaded), found.taken),
    )


def _maker(
    loaded: Callable[..., Any], taken: tuple[str, ...]
) -> Callable[[object, SourceContext], Any]:
    def make(spec: object, context: SourceContext) -> object:
        values = {"spec": spec, "context": context}
        wanted = {name: values[name] for name in taken if name != "emit"}
        if "emit" in taken:
            return _Called(loaded, wanted)
        return loaded(**wanted)

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
