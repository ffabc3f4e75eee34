"""The states of triggers and sources as numbers, the worst the highest, for panels over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from charts.dashboards.panels import State

TRIGGER_STATES: Final[Mapping[int, State]] = {
    1: State(text="running", colour="green"),
    2: State(text="recovering", colour="light-green"),
    3: State(text="held", colour="yellow"),
    4: State(text="probing", colour="orange"),
    5: State(text="paused", colour="red"),
}

SOURCE_STATES: Final[Mapping[int, State]] = {
    1: State(text="standby", colour="blue"),  # where another process runs it, that counts
    2: State(text="running", colour="green"),
    3: State(text="restarting", colour="orange"),
    4: State(text="unhealthy", colour="red"),
}


def worst(metric: str, states: Mapping[int, State], *, by: str) -> str:
    """Return the query for the worst state in any process, as its number."""
    each = (f'{number} * {metric}{{OF,state="{state.text}"}}' for number, state in states.items())
    return f"max by ({by}) ({' or '.join(each)})"
