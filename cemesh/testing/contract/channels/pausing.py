"""What a channel keeps of the triggers that are paused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker.errors import ChannelUnavailable
from broker.ports import Pause
from cemesh.testing.contract.harness import Harness, running
from cemesh.testing.contract.reading import TRIGGER, event, events, ids, numbers, reading


async def test_what_is_paused_is_paused_after_a_restart_and_until_it_is_resumed(
    harness: Harness,
) -> None:
    since = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    gone = Pause(why="410 Gone", since=since, destination="http://a.test/")
    asked = Pause(why="an operator asked — «später»", since=datetime(2026, 2, 3, tzinfo=UTC))
    async with running(harness) as channel:
        assert await channel.pauses.all() == {}
        await channel.pauses.put("default/a", asked)
        await channel.pauses.put("default/a", gone)
        await channel.pauses.put("default/b", asked)

        assert await channel.pauses.all() == {"default/a": gone, "default/b": asked}
    async with running(harness) as channel:
        assert await channel.pauses.all() == {"default/a": gone, "default/b": asked}
        await channel.pauses.remove("default/a")
        await channel.pauses.remove("default/never")

        assert await channel.pauses.all() == {"default/b": asked}
    async with running(harness) as channel:
        assert await channel.pauses.all() == {"default/b": asked}


async def test_a_channel_hands_out_what_a_paused_trigger_gets_all_the_same(
    harness: Harness,
) -> None:
    async with running(harness) as channel, reading(channel) as reader:
        await channel.pauses.put(TRIGGER, Pause(why="a test", since=datetime.now(UTC)))
        await channel.append(events(3))

        assert ids(await reader.take(3)) == numbers(3)


async def test_nothing_is_paused_or_resumed_while_the_store_is_gone(harness: Harness) -> None:
    pause = Pause(why="a test", since=datetime(2026, 1, 2, tzinfo=UTC))
    async with running(harness) as channel:
        await channel.pauses.put("default/a", pause)
        with harness.outage():
            with pytest.raises(ChannelUnavailable):
                await channel.append([event("refused")])
            with pytest.raises(ChannelUnavailable):
                await channel.pauses.put("default/b", pause)
            with pytest.raises(ChannelUnavailable):
                await channel.pauses.remove("default/a")

        assert "default/a" in await channel.pauses.all()
