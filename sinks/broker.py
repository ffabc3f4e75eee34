"""Hands events to another broker of the same mesh, by ``broker://namespace/name``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Self

from broker.errors import ChannelFull, ChannelUnavailable, InvalidEvent, UnknownBroker
from broker.event import MAX_HOPS, Event
from broker.ports import Accepted, Answer, Emit, Refused, Sink, SinkOptions
from broker.trigger import Target

SCHEME: Final = "broker://"

_URL: Final = re.compile(r"broker://[^/?#]+/[^/?#]+")


class BrokerSinks:
    """All brokers of this mesh. ``emit_to`` gives the way into one, or raises `UnknownBroker`."""

    def __init__(self, emit_to: Callable[[str], Emit]) -> None:
        self._emit_to = emit_to

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hold nothing, so let nothing go."""

    @classmethod
    def check(cls, target: Target) -> str | None:
        return None if _URL.fullmatch(target.url) else "not of the form broker://NAMESPACE/NAME"

    def sink(self, target: Target, options: SinkOptions) -> Sink:
        return BrokerSink(target.url.removeprefix(SCHEME), options, self._emit_to)


class BrokerSink:
    """One broker, looked up at every attempt: it may come and go."""

    def __init__(self, broker: str, options: SinkOptions, emit_to: Callable[[str], Emit]) -> None:
        self._broker = broker
        self._timeout = options.timeout
        self._emit_to = emit_to

    async def attempt(self, event: Event) -> Answer:
        """Return once the event is durable in the other broker, one hop further on.

        The hop is counted, since brokers can hand an event round in a circle as replies can.
        """
        if event.hops >= MAX_HOPS:
            return Refused(reason=f"hops exhausted: handed on {MAX_HOPS} times", permanent=True)
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._emit_to(self._broker)([replace(event, hops=event.hops + 1)])
        except (UnknownBroker, ChannelUnavailable, ChannelFull) as error:
            return Refused(reason=str(error))
        except InvalidEvent as error:
            return Refused(reason=str(error), permanent=True)
        except TimeoutError:
            return Refused(reason=f"not stored within {self._timeout.total_seconds():g} s")
        return Accepted()
