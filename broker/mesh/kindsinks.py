"""Destinations that objects of the manifests describe: one for each, shared by those who use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, cast

from broker import plugins
from broker.errors import CemeshError
from broker.event import Event
from broker.policy import Network
from broker.ports import Accepted, Answer, KindSink, Refused, SinkOptions
from broker.sinkplugin import SinkPlugin
from broker.trigger import SinkObject

_log: Final = logging.getLogger("cemesh.sinks")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """See `broker.ports.SinkContext`."""

    kind: str
    namespace: str
    name: str
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A sink that was made and entered."""

    described: SinkObject
    sink: KindSink
    within: AsyncExitStack


class KindSinks:
    """The sinks of kinds that are in use; all are left when the context ends.

    To be used from the task that entered it. ``find`` returns the plug-in of a kind, or at a place,
    or raises `PluginNotFound`.
    """

    def __init__(self, find: Callable[[str, str | None], SinkPlugin] = plugins.sink_of) -> None:
        self._find = find
        # Not a mapping: a spec is whatever its plug-in makes of it, and need not be hashable.
        self._made: list[_Made] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.leave_all_but(())

    async def leave_all_but(self, used: Collection[SinkObject]) -> None:
        """Leave the sinks that nothing uses any more. What that raises is logged."""
        unused = [each for each in self._made if each.described not in used]
        self._made = [each for each in self._made if each.described in used]
        for each in unused:
            try:
                await each.within.aclose()
            except Exception:  # noqa: BLE001 - a plug-in's faults are not the mesh's
                name = f"{each.described.kind} {each.described.key}"
                _log.exception("sink not left", extra={"sink": name})

    async def sink(self, described: SinkObject, options: SinkOptions) -> BoundedSink:
        """Return the way to what is described. Raises whatever its plug-in does, when it is new."""
        for known in self._made:
            if known.described == described:
                return BoundedSink(known.sink, described, options.timeout)
        plugin = self._find(described.kind, described.at)
        namespace, _, name = described.key.partition("/")
        context = _Context(
            kind=described.kind, namespace=namespace, name=name, network=options.network
        )
        sink, entered = plugin.make(described.spec, context)
        within = AsyncExitStack()
        await within.enter_async_context(entered)
        self._made.append(_Made(described=described, sink=sink, within=within))
        return BoundedSink(sink, described, options.timeout)


class BoundedSink:
    """A sink of a kind as a `Sink`: within its time, and with an answer whatever happens."""

    def __init__(self, sink: KindSink, described: SinkObject, timeout: timedelta) -> None:
        self._sink = sink
        self._name = f"{described.kind} {described.key}"
        self._timeout = timeout

    async def attempt(self, event: Event) -> Answer:
        seconds = self._timeout.total_seconds()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                answer = cast("object", await self._sink.attempt(event))
        except TimeoutError as error:
            if not limit.expired():
                return self._raised(error)
            return Refused(reason=f"{self._name} did not take it within {seconds:g} s")
        except CemeshError as error:
            return Refused(reason=str(error))
        except Exception as error:  # noqa: BLE001 - a plug-in's faults are not the mesh's
            return self._raised(error)
        match answer:  # whatever a plug-in answers
            case None:
                return Accepted()
            case Event():
                return Accepted(reply=answer)
            case Accepted() | Refused():
                return answer
            case _:
                kind = type(answer).__name__
                return Refused(reason=f"{self._name} answered a {kind}, which is no answer")

    def _raised(self, error: Exception) -> Refused:
        # Its traceback is for who asks for it: the same one may come with every attempt.
        _log.debug("sink failed", extra={"sink": self._name}, exc_info=error)
        return Refused(reason=f"{self._name}: {type(error).__name__}: {error}")
