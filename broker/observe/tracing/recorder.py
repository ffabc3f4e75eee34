"""Records a span of each arrival of an event, of its wait, and of each attempt to deliver it.

A span is recorded when it has ended, of what was told. What has to be known before, its ids and
whether it is sampled, goes with the event; so nothing is kept here meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, NamedTuple

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from broker.event import Event
from broker.observe.tracing import wording
from broker.observe.tracing.contexts import Foreseen, as_sdk, next_of, origin_of, parent_of
from broker.observe.tracing.exporting import Leaving
from broker.observe.tracing.wording import Attributes
from broker.ports import Answer, Arrival, Attempt, Origin, Reason, Refused, Unwatched
from broker.tracecontext import TraceContext, read

_NAME: Final = "cemesh"


class _Span(NamedTuple):
    name: str
    kind: SpanKind
    began: float
    ended: float
    attributes: Attributes
    links: Sequence[TraceContext] = ()
    fault: str | None = None


class Recorder(Unwatched):
    """A `broker.ports.Tracer`, and the `Watcher` that is told how what it began has ended.

    ``endpoint`` is where spans go, as it may be told. Raises `ValueError` where the environment,
    which says all else, is wrong.
    """

    def __init__(self, endpoint: str) -> None:
        self._ids = Foreseen()
        self._leaving = Leaving(endpoint)
        provider = TracerProvider(
            resource=_resource(), id_generator=self._ids, shutdown_on_exit=False
        )
        provider.add_span_processor(self._leaving)
        self._sampler, provider.sampler = provider.sampler, ALWAYS_ON  # asked before, not after
        self._tracer = provider.get_tracer(_NAME, version("cemesh"))

    async def close(self, within: timedelta) -> None:
        """Send what is left, within that time."""
        await self._leaving.close(within)

    # --- what is to come -------------------------------------------------------------------

    def arrive(
        self,
        events: Sequence[Event],
        origin: Origin,
        *,
        parent: str | None = None,
        cause: str | None = None,
    ) -> tuple[Sequence[Event], Origin]:
        parents = [origin_of(event, parent) for event in events]
        begun = [
            replace(event, trace=str(next_of(each, self._sampler)))
            for event, each in zip(events, parents, strict=True)
        ]
        told = [None if each is None else str(each) for each in parents]
        return begun, origin._replace(arrival=Arrival(time.time(), told, cause))

    def begin(self, event: Event) -> Event:
        return replace(event, trace=str(next_of(origin_of(event), self._sampler)))

    async def send_together(
        self,
        trigger: str,
        events: Sequence[Event],
        send: Callable[[Sequence[Event]], Awaitable[Answer]],
    ) -> Answer:
        attempts = [each for event in events if (each := read(event.trace)) is not None]
        # A child of the first that is recorded, so that it is in a trace that somebody looks at.
        parent = next((each for each in attempts if each.is_sampled), None)
        parent = parent or next(iter(attempts), None)
        own = next_of(parent, self._sampler)
        began = time.time()
        answer = await send([replace(event, trace=str(own)) for event in events])
        span = _Span(
            f"deliver batch {trigger}",
            SpanKind.CLIENT,
            began,
            time.time(),
            wording.of_batch(trigger, len(events), answer),
            links=[each for each in attempts if each is not parent],
            fault=_fault(answer),
        )
        self._record(own, parent, span)
        return answer

    # --- what has ended --------------------------------------------------------------------

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        if origin.arrival is None:
            return
        now = time.time()
        began = origin.arrival.began if seconds is None else now - seconds
        cause = read(origin.arrival.cause)
        for event, parent in zip(events, origin.arrival.parents, strict=True):
            own = read(event.trace)
            if own is None or not own.is_sampled:
                continue
            span = _Span(
                f"publish {broker}",
                SpanKind.SERVER if origin.kind == "request" else SpanKind.PRODUCER,
                began,
                now,
                wording.of_arrival(broker, event, origin),
                links=[] if cause is None else [cause],
            )
            self._record(own, read(parent), span)

    def attempted(self, attempt: Attempt) -> None:
        own = read(attempt.trace)
        if own is None or not own.is_sampled:
            return
        parent = origin_of(attempt.event)
        if attempt.to == "subscriber" and attempt.number == 1:
            self._record_wait(attempt, parent)
        verb = "deliver" if attempt.to == "subscriber" else "dead-letter"
        span = _Span(
            f"{verb} {attempt.trigger}",
            SpanKind.CLIENT,
            attempt.began,
            attempt.began + attempt.seconds,
            wording.of_attempt(verb, attempt),
            fault=_fault(attempt.answer),
        )
        self._record(own, parent, span)

    def refuse(
        self, broker: str, status: int, reason: Reason, *, parent: str | None, seconds: float
    ) -> None:
        now = time.time()
        span = _Span(
            f"publish {broker}",
            SpanKind.SERVER,
            now - seconds,
            now,
            wording.of_refusal(broker, status, reason),
            fault=reason if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
        )
        origin = read(parent)
        self._record(next_of(origin, self._sampler), origin, span)

    def _record_wait(self, attempt: Attempt, parent: TraceContext | None) -> None:
        """Record how long the event was in the channel before anything was tried."""
        accepted = attempt.accepted_at.timestamp()
        span = _Span(
            f"receive {attempt.trigger}",
            SpanKind.CONSUMER,
            min(accepted, attempt.began),
            attempt.began,
            wording.of_delivery("receive", "receive", attempt),
        )
        own = next_of(parent, self._sampler)
        if own.is_sampled:
            self._record(own, parent, span)

    def _record(self, own: TraceContext, parent: TraceContext | None, told: _Span) -> None:
        if not own.is_sampled:
            return
        self._ids.foresee(own)
        span = self._tracer.start_span(
            told.name,
            parent_of(parent),
            told.kind,
            told.attributes,
            [Link(as_sdk(each)) for each in told.links],
            start_time=_nanoseconds(told.began),
        )
        if told.fault is not None:
            span.set_status(Status(StatusCode.ERROR, told.fault))
        span.end(_nanoseconds(told.ended))


def _resource() -> Resource:
    """Return what the environment says of this process; the name is ours where it says none."""
    told = Resource.create({SERVICE_VERSION: version("cemesh")})
    if str(told.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return told.merge(Resource({SERVICE_NAME: _NAME}))
    return told


def _fault(answer: Answer) -> str | None:
    return answer.reason if isinstance(answer, Refused) else None


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
