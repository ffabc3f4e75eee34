"""A source that is called: what it is given, and what its answers and failures become."""

from __future__ import annotations

import pytest

from broker.errors import ChannelUnavailable, InvalidEvent, PluginNotFound
from broker.event import Event
from broker.sourceplugin import source_plugin
from cemesh import Emitter, HttpReply, HttpRequest, SourceContext
from cemesh.testing.sources import running


class Hook:
    """Makes an event of each request whose body is not empty."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context

    async def receive(self, request: HttpRequest, emit: Emitter) -> HttpReply | None:
        if not request.body:
            return HttpReply(status=200, body=request.query.encode())
        attributes = {
            "specversion": "1.0",
            "id": request.header("x-id") or "",
            "source": self._context.uri,
            "type": "t",
        }
        await emit(Event(attributes, request.body))
        return None


def request(id: str) -> HttpRequest:
    return HttpRequest(headers=[("x-id", id), ("x-id", "another")], body=b"1")


async def test_what_it_emits_is_stored_before_it_answers() -> None:
    async with running(Hook, name="mine", extensions={"a": "b"}) as hook:
        reply = await hook.call(request("1"))
        [event] = await hook.events(1)

        assert reply == HttpReply(status=202)
        assert event.attributes == {
            "specversion": "1.0",
            "id": "1",
            "source": "/apis/v1/namespaces/default/hooks/mine",
            "type": "t",
            "a": "b",
        }
        assert (hook.status.state, hook.status.emitted) == ("running", 1)


async def test_it_may_answer_without_an_event() -> None:
    async with running(Hook) as hook:
        reply = await hook.call(HttpRequest(method="GET", query="challenge=5"))

        assert reply == HttpReply(status=200, body=b"challenge=5")
        assert hook.status.emitted == 0


async def test_while_the_store_is_away_it_refuses_and_says_so() -> None:
    async with running(Hook) as hook:
        with hook.outage("no disk"):
            with pytest.raises(ChannelUnavailable):
                await hook.call(request("1"))
            assert (hook.status.state, hook.status.error) == ("unhealthy", "no disk")

        await hook.call(request("1"))
        assert [each.id for each in await hook.events(1)] == ["1"]
        assert hook.status.state == "running"


async def test_an_event_that_is_none_is_refused() -> None:
    async with running(Hook) as hook:
        with pytest.raises(InvalidEvent):
            await hook.call(request(""))


async def test_it_cannot_be_called_where_it_runs_by_itself() -> None:
    async def runs(emit: Emitter) -> None:
        await emit([])

    async with running(runs) as source:
        with pytest.raises(TypeError, match="runs has no `receive`"):
            await source.call(HttpRequest())


def test_what_has_both_ways_runs() -> None:
    class Both(Hook):
        async def run(self, emit: Emitter) -> None:
            await emit([])

    assert source_plugin(Hook, "the test").receives
    assert not source_plugin(Both, "the test").receives


def test_one_that_could_not_be_awaited_is_refused() -> None:
    class Blocks:
        def receive(self, request: HttpRequest, emit: Emitter) -> None: ...

    with pytest.raises(PluginNotFound, match=r"`async def receive\(self, request, emit\)`"):
        source_plugin(Blocks, "the test")
