"""What sources do, as lines of a scrape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import get_args

from broker.observe import families
from broker.observe.books import age
from broker.status import SourceState, SourceStatus


def sources(told: Sequence[SourceStatus], now: datetime) -> Iterator[str]:
    """Yield the lines of sources. Counters begin at 0 where a process begins to run one."""
    of = [([each.kind, each.key], each) for each in told]
    yield from families.EMITTED.lines((labels, each.emitted) for labels, each in of)
    yield from families.REJECTED.lines((labels, each.rejected) for labels, each in of)
    yield from families.RESTARTS.lines((labels, each.restarts) for labels, each in of)
    yield from families.LAG.lines((labels, each.lag) for labels, each in of if each.lag is not None)
    ages = [(labels, age(each.lag_since, now)) for labels, each in of]
    yield from families.LAG_AGE.lines((labels, each) for labels, each in ages if each is not None)
    yield from families.SOURCE_STATE.lines(
        ([*labels, state], each.state == state)
        for labels, each in of
        for state in get_args(SourceState)
    )
