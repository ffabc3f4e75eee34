"""What keeps a channel from its work, told once however many meet it and however often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from broker.errors import CemeshError

_log: Final = logging.getLogger("cemesh.channel")

_TOLD_EVERY: Final = timedelta(seconds=30)


class Trouble:
    """Warns of what fails: the first time, and every half minute for as long as it does.

    ``is_known`` returns whether the store is known to be out, of which somebody else has told.
    """

    def __init__(
        self,
        is_known: Callable[[], bool] = lambda: False,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_known = is_known
        self._clock = clock
        self._told: dict[str, float] = {}

    def met(self, stage: str, error: CemeshError, **fields: object) -> None:
        """Tell that this stage fails, if that is news. ``fields`` say where it was met."""
        now = self._clock()
        since = now - self._told.get(stage, float("-inf"))
        is_news = since >= _TOLD_EVERY.total_seconds() and not self._is_known()
        if is_news:
            self._told[stage] = now
        level = logging.WARNING if is_news else logging.DEBUG
        _log.log(level, stage, extra={**fields, "why": str(error)})

    @contextmanager
    def told(self, stage: str, **fields: object) -> Iterator[None]:
        """Tell of a `CemeshError` that is raised inside, and let it go on."""
        try:
            yield
        except CemeshError as error:
            self.met(stage, error, **fields)
            raise
