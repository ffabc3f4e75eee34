"""What sources do, as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import get_args

from prometheus_client.core import Metric

from broker.observe import families
from broker.observe.books import age
from broker.status import SourceState, SourceStatus


def sources(told: Sequence[SourceStatus], now: datetime) -> Iterator[Metric]:
    """Yield the metrics of sources. Counters begin at 0 where a process begins to run one."""
    of = [([each.kind, each.key], each) for each in told]
    yield families.EMITTED.metric((labels, each.emitted) for labels, each in of)
    yield families.REJECTED.metric((labels, each.rejected) for labels, each in of)
    yield families.RESTARTS.metric((labels, each.restarts) for labels, each in of)
    yield families.LAG.metric((labels, each.lag) for labels, each in of if each.lag is not None)
    ages = [(labels, age(each.lag_since, now)) for labels, each in of]
    yield families.LAG_AGE.metric((labels, each) for labels, each in ages if each is not None)
    yield families.SOURCE_STATE.metric(
        ([*labels, state], each.state == state)
        for labels, each in of
        for state in get_args(SourceState)
    )
