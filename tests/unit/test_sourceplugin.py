"""What can be a source: a class or a coroutine function, and what it is given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
from pydantic import BaseModel

from broker.errors import PluginNotFound
from broker.mesh.health import Health
from broker.mesh.sourcing import Context
from broker.ports import Channel, Emitter, SourceContext
from broker.sourceplugin import API_VERSION, source_plugin
from broker.trigger import Source


class Model(BaseModel):
    every: int = 1


@dataclass
class Plain:
    every: int = 1


class Collected:
    """An `Emitter` that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[object] = []

    async def __call__(self, events: object) -> None:
        self.given.append(events)

    async def at_once(self, events: object) -> None:
        self.given.append(events)


def no_channel() -> Channel:
    raise AssertionError("nothing is stored here")


def context() -> Context:
    source = Source(kind="Ticks", key="shop/tick", broker="shop/orders", spec=None)
    return Context(source, no_channel, Health("Ticks shop/tick"))


async def given_to(loaded: object, spec: object = None) -> list[object]:
    """Return what the source emits when it runs."""
    emit = Collected()
    await source_plugin(loaded, "the test").make(spec, context()).run(emit)
    return emit.given


class OfAClass:
    Spec: ClassVar = Model
    api_versions: ClassVar = ("sources.example.com/v1", "sources.example.com/v2")
    alone: ClassVar = True

    def __init__(self, spec: Model, context: SourceContext) -> None:
        self._said = f"{context.namespace}/{context.name} every {spec.every}"

    async def run(self, emit: Emitter) -> None:
        await emit(self._said)  # type: ignore[arg-type]  # `Collected` takes anything


async def of_a_function(emit: Emitter, spec: Plain, context: SourceContext) -> None:
    await emit(f"{context.uri} every {spec.every}")  # type: ignore[arg-type]


async def test_a_class_gets_its_spec_and_its_context_by_name() -> None:
    plugin = source_plugin(OfAClass, "the test")

    assert (plugin.model, plugin.alone) == (Model, True)
    assert plugin.api_versions == ("sources.example.com/v1", "sources.example.com/v2")
    assert await given_to(OfAClass, Model(every=5)) == ["shop/tick every 5"]


async def test_a_function_gets_them_beside_emit_and_its_annotation_is_its_model() -> None:
    plugin = source_plugin(of_a_function, "the test")

    assert (plugin.model, plugin.alone, plugin.api_versions) == (Plain, False, (API_VERSION,))
    assert await given_to(of_a_function, Plain(every=7)) == [
        "/apis/v1/namespaces/shop/tickss/tick every 7"
    ]


async def test_a_source_takes_only_what_it_asks_for() -> None:
    class Nothing:
        async def run(self, emit: Emitter) -> None:
            await emit([])

    async def only_emit(emit: Emitter) -> None:
        await emit([])

    for each in (Nothing, only_emit):
        assert source_plugin(each, "the test").model is None
        assert await given_to(each) == [[]]


class NoRun:
    pass


class RunOfAThread:
    def run(self, emit: Emitter) -> None: ...


class MoreThanThereIs:
    def __init__(self, spec: Model, database: str) -> None: ...

    async def run(self, emit: Emitter) -> None: ...


class NoModel:
    def __init__(self, spec: dict[str, str]) -> None: ...

    async def run(self, emit: Emitter) -> None: ...


class NotAnnotated:
    def __init__(self, spec) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    async def run(self, emit: Emitter) -> None: ...


async def no_emit(context: SourceContext) -> None: ...


async def unreadable(emit: Emitter, spec: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("loaded", "fault"),
    [
        (NoRun, "it is neither a class with `async def run(self, emit)` nor an `async def`"),
        (RunOfAThread, "it is neither a class with"),
        (5, "it is neither a class with"),
        (MoreThanThereIs, "it asks for 'database', which nobody gives it; it may take any of"),
        (NoModel, "it takes a `spec`, but neither the annotation of that nor `Spec` is a pydantic"),
        (NotAnnotated, "it takes a `spec`, but neither"),
        (no_emit, "it takes no `emit`, so it could never do anything"),
        (unreadable, "the annotations of it cannot be read: NameError: name 'Nowhere'"),
    ],
)
def test_what_can_be_no_source_is_refused_with_the_reason(loaded: object, fault: str) -> None:
    with pytest.raises(PluginNotFound, match=re.escape(fault)):
        source_plugin(loaded, "it")
