"""How the sources of a mesh do: a row of panels for those who run it."""

from __future__ import annotations

from typing import Final

from charts.dashboards.board import Row
from charts.dashboards.panels import Panel, Query
from charts.dashboards.states import SOURCE_STATES, worst

SOURCES: Final = Row(
    title="Sources",
    panels=[
        Panel(
            kind="table",
            title="Sources",
            description="`cemesh status` says what is wrong with one that does not run.",
            queries=[
                Query(
                    expr=worst("cemesh_source_state", SOURCE_STATES, by="kind, source"),
                    legend="state",
                ),
                Query(
                    expr="""sum by (kind, source) (
                        rate(cemesh_source_emitted_events_total{OF}[$__rate_interval]))""",
                    legend="emitted",
                    unit="cps",
                ),
                Query(
                    expr="sum by (kind, source) (cemesh_source_lag_events{OF})",
                    legend="lag",
                ),
                Query(
                    expr="max by (kind, source) (cemesh_source_lag_seconds{OF})",
                    legend="oldest upstream",
                    unit="s",
                ),
                Query(
                    expr="sum by (kind, source) (increase(cemesh_source_restarts_total{OF}[1h]))",
                    legend="restarts within an hour",
                ),
                Query(
                    expr="""sum by (kind, source) (
                        increase(cemesh_source_rejected_messages_total{OF}[1h]))""",
                    legend="rejected within an hour",
                ),
            ],
            states=SOURCE_STATES,
            states_in="state",
            runbooks=["CemeshSourceUnhealthy", "CemeshSourceBehind"],
            width=24,
        ),
        Panel(
            kind="state-timeline",
            title="State",
            description=(
                "Unhealthy: it cannot get at what it reads from, or cannot store, and goes on "
                "trying."
            ),
            queries=[
                Query(
                    expr=worst("cemesh_source_state", SOURCE_STATES, by="kind, source"),
                    legend="{{kind}} {{source}}",
                )
            ],
            states=SOURCE_STATES,
            runbooks=["CemeshSourceUnhealthy"],
        ),
        Panel(
            title="Lag",
            description="Events that wait upstream, of the sources that can tell.",
            queries=[
                Query(
                    expr="sum by (kind, source) (cemesh_source_lag_events{OF})",
                    legend="{{kind}} {{source}}",
                )
            ],
            runbooks=["CemeshSourceBehind"],
        ),
    ],
)
