"""The topics of one broker: of its events, and beside it those that begin with ``base``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from broker.channels.kafka import delays
from broker.channels.kafka.deadletters import dead_letter_topic
from broker.channels.kafka.settings import ClientOptions, Settings
from broker.channels.kafka.state import state_topic
from broker.channels.kafka.topics import Topic, ensure_topics, grow_topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The topics' names. ``delays`` says of each by how much.

    ``delayed`` is how many partitions these have: as many as that of events, so that whoever
    holds one of events holds what waits of it.
    """

    events: str
    state: str
    dead_letters: str
    delays: Mapping[str, timedelta]
    delayed: int


async def laid_out(settings: Settings, options: ClientOptions) -> Layout:
    """Return the layout once all of its topics are there. Raises `ChannelUnavailable`.

    Where the topic of events is the mesh's own, each record's timestamp is when Kafka stored it.
    """
    config = settings.topic_config
    (found,) = (
        await ensure_topics(
            options,
            [
                Topic(
                    name=settings.topic,
                    partitions=settings.partitions,
                    replication_factor=settings.replication_factor,
                    config={"message.timestamp.type": "LogAppendTime", **config},
                    external=settings.external,
                )
            ],
        )
    ).values()
    state, dead_letters = f"{settings.base}-state", f"{settings.base}-dead-letters"
    steps = dict(zip(delays.topics(settings.base), delays.STEPS, strict=True))
    partitions = await ensure_topics(
        options,
        [
            _of_ours(settings, state, 1, state_topic(config)),
            _of_ours(settings, dead_letters, 1, dead_letter_topic(config)),
            *(_of_ours(settings, each, found, delays.delay_topic(config)) for each in steps),
        ],
    )
    fewer = [each for each in steps if partitions[each] < found]
    if fewer:  # that of events was given more meanwhile
        await grow_topics(options, fewer, found)
    return Layout(
        events=settings.topic,
        state=state,
        dead_letters=dead_letters,
        delays=steps,
        delayed=found,
    )


def _of_ours(settings: Settings, name: str, partitions: int, config: Mapping[str, str]) -> Topic:
    return Topic(
        name=name,
        partitions=partitions,
        replication_factor=settings.replication_factor,
        config=config,
    )
