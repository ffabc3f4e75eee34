"""How long things take, as panels tell it."""

from __future__ import annotations

from typing import Final

from charts.dashboards.board import Row
from charts.dashboards.panels import Panel, Query


def quantiles(metric: str, more: str = "") -> list[Query]:
    """Return the queries for the median and what is slow, of the series that ``more`` chooses."""
    return [
        Query(
            expr=f"""histogram_quantile({share}, sum by (le) (
                rate({metric}_bucket{{OF{more}}}[$__rate_interval])))""",
            legend=name,
        )
        for name, share in (("median", 0.5), ("95 %", 0.95), ("99 %", 0.99))
    ]


DURATIONS: Final = Row(
    title="How long it takes, over all triggers that are chosen",
    panels=[
        Panel(
            title="An attempt at the subscriber",
            description="From its beginning until the answer, the storing of a reply included.",
            queries=quantiles("cemesh_attempt_duration_seconds", ',to="subscriber"'),
            unit="s",
            width=8,
        ),
        Panel(
            title="Accepted until the first attempt",
            description=(
                "What an event waits in the channel. High where the trigger is behind, or was "
                "paused."
            ),
            queries=quantiles("cemesh_channel_duration_seconds"),
            unit="s",
            width=8,
        ),
        Panel(
            title="End to end",
            description=(
                "From when the event was accepted until the subscriber had taken it, retries "
                "included."
            ),
            queries=quantiles("cemesh_end_to_end_duration_seconds"),
            unit="s",
            width=8,
        ),
    ],
)
