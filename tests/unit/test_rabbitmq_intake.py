from __future__ import annotations

import asyncio
from typing import cast

import pytest

from broker.channels.rabbitmq.intake import Intake
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.session import Consumer, Session
from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable
from broker.filters import EVERYTHING


class HeldSession:
    """A session whose channel ends when it is closed."""

    def __init__(self) -> None:
        self.consumers: dict[str, Consumer] = {}
        self.ended = asyncio.Event()

    async def run(self) -> None:
        await self.ended.wait()

    async def close(self) -> None:
        self.ended.set()


async def test_a_session_that_opens_only_when_the_connection_is_lost_is_closed() -> None:
    shared, late, opens = HeldSession(), HeldSession(), asyncio.Event()

    async def opened_late() -> Session:
        await opens.wait()
        return cast("Session", late)

    intake = Intake(
        cast("Session", shared),
        opened_late,
        on_lost=lambda _: None,
        on_ended=lambda _: None,
        trouble=Trouble(),
    )
    running = asyncio.ensure_future(intake.run())
    place = Place("default/audit", EVERYTHING)
    consuming = asyncio.ensure_future(intake.consume(place, "queue", 10, ordered=True))
    await asyncio.sleep(0)
    await shared.close()
    await running
    opens.set()

    with pytest.raises(ChannelUnavailable):
        await consuming
    assert late.ended.is_set()
    assert intake.consumers == []
