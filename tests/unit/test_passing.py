"""What a source has taken is emitted together, and one refusal costs only the refused."""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import InvalidEvent
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitted
from tests.unit.meshes import make_event


class Refusing:
    """An `Emitter` that refuses events with those ids, and all that come with them."""

    def __init__(self, *ids: str) -> None:
        self.stored: list[list[str]] = []
        self._refused = ids

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        assert isinstance(events, list)
        ids = [each.id for each in events]
        for each in ids:
            if each in self._refused:
                raise InvalidEvent(f"{each} is too large")
        self.stored.append(ids)

    async def at_once(self, events: Emitted | Iterable[Emitted]) -> None:
        raise AssertionError("it waits")


async def passed(*things: int, refuses: str = "") -> tuple[list[list[str]], list[tuple[int, str]]]:
    """Return what is stored, together each, and what is rejected and why."""
    emit = Refusing(*refuses)
    rejected: list[tuple[int, str]] = []

    async def reject(thing: int, error: InvalidEvent) -> None:
        rejected.append((thing, str(error)))

    taken: list[tuple[int, Event]] = [(each, make_event(str(each))) for each in things]
    await pass_on(taken, emit, reject)
    return emit.stored, rejected


async def test_all_are_stored_together() -> None:
    assert await passed(1, 2, 3) == ([["1", "2", "3"]], [])


async def test_one_that_is_refused_is_rejected_and_the_others_are_stored_in_their_order() -> None:
    assert await passed(1, 2, 3, refuses="2") == ([["1"], ["3"]], [(2, "2 is too large")])


async def test_one_alone_that_is_refused_is_offered_once() -> None:
    assert await passed(1, refuses="1") == ([], [(1, "1 is too large")])


async def test_nothing_is_not_emitted() -> None:
    assert await passed() == ([], [])
