"""For those who run the mesh: what it takes, what waits in it, and how its processes do."""

from __future__ import annotations

from typing import Final

from charts.dashboards.board import Dashboard, Row, Variable
from charts.dashboards.durations import quantiles
from charts.dashboards.health import HEALTH
from charts.dashboards.links import FROM_ROW, FROM_SERIES
from charts.dashboards.panels import Panel, Query
from charts.dashboards.processes import PROCESSES
from charts.dashboards.sources import SOURCES
from charts.dashboards.states import TRIGGER_STATES, worst

_IN: Final = Row(
    title="What comes in",
    panels=[
        Panel(
            title="Accepted, by broker",
            description="Events that were stored, each second, however they came in.",
            queries=[
                Query(
                    expr="""sum by (broker) (
                        rate(cemesh_stored_events_total{OF,broker=~"$broker"}[$__rate_interval]))""",
                    legend="{{broker}}",
                )
            ],
            unit="cps",
        ),
        Panel(
            title="Accepted, by how they came in",
            description=(
                "Redrives are dead letters that were handed back. Many replies may be a loop of "
                "triggers."
            ),
            queries=[
                Query(
                    expr="""sum by (origin) (
                        rate(cemesh_stored_events_total{OF,broker=~"$broker"}[$__rate_interval]))""",
                    legend="{{origin}}",
                )
            ],
            unit="cps",
            stacked=True,
        ),
        Panel(
            title="Refused, by reason",
            description=(
                "Requests that were answered with an error. What reasons mean is in "
                "docs/metrics.md; each request is in the log at `cemesh log debug`. No broker: the "
                "path named none that runs."
            ),
            queries=[
                Query(
                    expr="""sum by (broker, status, reason) (rate(
                        cemesh_refused_requests_total{OF,broker=~"$broker"}[$__rate_interval]))""",
                    legend="{{broker}} {{status}} {{reason}}",
                )
            ],
            unit="reqps",
            runbooks=["CemeshIngressErrors"],
        ),
        Panel(
            title="Ingress latency",
            description=(
                "From the head of a request until its events were durable. It is the disk's, or "
                "that of Kafka or RabbitMQ."
            ),
            queries=quantiles("cemesh_ingress_duration_seconds", ',broker=~"$broker"'),
            unit="s",
        ),
    ],
)

_BACKLOG: Final = Row(
    title="What waits",
    panels=[
        Panel(
            kind="table",
            title="The worst triggers",
            description=(
                "Those with the most that waits. Click on one for what is the matter with it."
            ),
            queries=[
                Query(
                    expr="topk(20, sum by (trigger) (cemesh_waiting_events{OF}))",
                    legend="waiting",
                ),
                Query(
                    expr="topk(20, max by (trigger) (cemesh_oldest_waiting_seconds{OF}))",
                    legend="oldest waiting",
                    unit="s",
                ),
                Query(
                    expr="""topk(20, sum by (trigger) (
                        increase(cemesh_given_up_events_total{OF}[1h])))""",
                    legend="given up within an hour",
                ),
            ],
            link=FROM_ROW,
            runbooks=["CemeshTriggerBehind", "CemeshDeadLetters"],
        ),
        Panel(
            kind="table",
            title="Triggers that are not just running",
            description=(
                "Breakers that are open, or were just closed, the subscribers that asked for a "
                "rest, and triggers that somebody has paused."
            ),
            queries=[
                Query(
                    expr=f"{worst('cemesh_trigger_state', TRIGGER_STATES, by='trigger')} > 1",
                    legend="state",
                )
            ],
            states=TRIGGER_STATES,
            states_in="state",
            link=FROM_ROW,
            runbooks=["CemeshTriggerPaused"],
        ),
        Panel(
            title="Waiting, of all triggers",
            description="An event that waits for several triggers counts for each of them.",
            queries=[Query(expr="sum(cemesh_waiting_events{OF})", legend="waiting")],
            width=8,
        ),
        Panel(
            title="Triggers that are not just running, by state",
            description="Many at once: what do their subscribers have in common?",
            queries=[
                Query(
                    expr="""sum by (state) (
                        max by (trigger, state) (cemesh_trigger_state{OF,state!="running"}))""",
                    legend="{{state}}",
                )
            ],
            stacked=True,
            width=8,
        ),
        Panel(
            title="Given up",
            description="Events that became dead letters, of the ten triggers with the most.",
            queries=[
                Query(
                    expr="""topk(10, sum by (trigger) (
                        increase(cemesh_given_up_events_total{OF}[$__rate_interval])))""",
                    legend="{{trigger}}",
                )
            ],
            link=FROM_SERIES,
            runbooks=["CemeshDeadLetters"],
            width=8,
        ),
    ],
)

OPERATORS: Final = Dashboard(
    uid="cemesh-operators",
    title="cemesh: operators",
    description="For those who run the mesh: what it takes, what waits, and how its processes do.",
    of='job="$job"',
    variables=[
        Variable(name="job", label="Mesh", query="label_values(cemesh_build_info, job)"),
        Variable(
            name="broker",
            label="Broker",
            query='label_values(cemesh_channel_available{job="$job"}, broker)',
            all=".*",
        ),
    ],
    rows=[HEALTH, _IN, _BACKLOG, SOURCES, PROCESSES],
)
