"""Trace contexts as the SDK has them, and those of spans to come."""

from __future__ import annotations

from random import Random
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from broker.event import Event
from broker.tracecontext import SAMPLED, TraceContext, joined, read

_RANDOM: Final = 0x02
"""The flag that says that the id of a trace is random, which its children hand on (level 2)."""

_getrandbits: Final = Random().getrandbits  # noqa: S311 - unlike others', but no secret


def origin_of(event: Event, parent: str | None = None) -> TraceContext | None:
    """Return the span that the next one of the event is a child of, or None where it has none."""
    found = read(parent) or read(event.trace)
    if found is not None:
        return found
    attribute = event.attributes.get("traceparent")
    if attribute is None:
        return None
    return read(joined(attribute, event.attributes.get("tracestate")))


def next_of(parent: TraceContext | None, sampler: Sampler) -> TraceContext:
    """Return the context of a span to come, which is sampled or not, as the sampler says."""
    trace = f"{_getrandbits(128) | 1:032x}" if parent is None else parent.trace
    decided = sampler.should_sample(parent_of(parent), int(trace, 16), "")
    flags = SAMPLED if decided.decision is Decision.RECORD_AND_SAMPLE else 0
    if parent is not None:
        flags |= parent.flags & _RANDOM
    state = "" if decided.trace_state is None else decided.trace_state.to_header()
    return TraceContext(trace, f"{_getrandbits(64) | 1:016x}", flags, state)


def parent_of(context: TraceContext | None) -> Context:
    """Return the SDK's context in which a child of that span begins."""
    if context is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(as_sdk(context)), Context())


def as_sdk(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace, 16),
        int(context.span, 16),
        is_remote=True,
        trace_flags=TraceFlags(context.flags),
        trace_state=TraceState.from_header([context.state] if context.state else []),
    )


class Foreseen(IdGenerator):
    """Gives the next span the ids that it was foreseen to have."""

    def __init__(self) -> None:
        self._next: TraceContext | None = None

    def foresee(self, context: TraceContext) -> None:
        self._next = context

    def generate_span_id(self) -> int:
        return int(self._foreseen.span, 16)

    def generate_trace_id(self) -> int:
        return int(self._foreseen.trace, 16)

    @property
    def _foreseen(self) -> TraceContext:
        if self._next is None:
            raise RuntimeError("no span was foreseen")
        return self._next
