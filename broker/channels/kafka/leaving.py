"""Giving shares up: what is under way is finished, and others are told where they stand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from broker.channels.kafka.cursor import KafkaCursor
from broker.channels.kafka.place import KafkaPlace
from broker.channels.kafka.shares import Share
from broker.channels.kafka.waiting import until
from broker.errors import CemeshError

_log: Final = logging.getLogger("cemesh.channel")

_FREED_WITHIN: Final = timedelta(seconds=3)
"""How long whoever has lost a share may take to finish what it has under way."""


class Leaving:
    """The shares that are being given up. ``cursors`` yields all that may have claims out."""

    def __init__(self, cursors: Callable[[], Iterable[KafkaCursor]]) -> None:
        self._cursors = cursors
        self._shares: set[Share] = set()

    def __iter__(self) -> Iterator[Share]:
        return iter(self._shares)

    async def give_up(self, shares: Sequence[Share]) -> None:
        """Return once these are given up, and it is told of which the others cannot be told."""
        self._shares.update(shares)  # at once: whoever is cancelled in this may do it again
        failures = await asyncio.gather(*map(self._give_up, shares))
        outcomes = {share.number: failure for share, failure in zip(shares, failures, strict=True)}
        given_up = sorted(number for number, failure in outcomes.items() if failure is None)
        if given_up:
            _log.info("partitions given up", extra={"partitions": given_up})
        left = sorted(outcomes.keys() - set(given_up))
        if left:
            topic = next(share.topic for share in shares)
            extra = {"topic": topic, "partitions": left, "why": str(outcomes[left[0]])}
            _log.warning("partitions left as they were stored last", extra=extra)

    async def _give_up(self, share: Share) -> CemeshError | None:
        """Finish what is under way in the share, within a while, and free it.

        Returns why the others cannot be told where it stands, and that it is free.
        """
        for place in _places(share):
            place.halt()
        await until(lambda: not self._is_busy(share), within=_FREED_WITHIN)
        let_go(share)
        failure: CemeshError | None = None
        try:
            await share.give_up()
        except CemeshError as error:
            failure = error
        self._shares.discard(share)
        return failure

    def _is_busy(self, share: Share) -> bool:
        out = {place for cursor in self._cursors() for place in cursor.places_out()}
        return any(partition.in_hand for partition in share) or any(
            place.going or place in out for place in _places(share)
        )


def let_go(share: Share) -> None:
    """Put off and bury nothing from the share any more: another process does it all again."""
    for place in _places(share):
        place.let_go()


def _places(share: Share) -> Iterator[KafkaPlace]:
    for partition in share:
        yield from partition.places().values()
