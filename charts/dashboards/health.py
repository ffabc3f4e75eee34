"""Whether anything is wrong with a mesh: the first row for those who run it."""

from __future__ import annotations

from typing import Final

from charts.dashboards.board import Row
from charts.dashboards.links import TO_RUNBOOK
from charts.dashboards.panels import Panel, Query

_WRONG: Final = {1: "red"}

_ALERTS: Final = """
    sum by (alertname, alertstate, severity, broker, trigger, kind, source, instance) (
        ALERTS{OF,alertname=~"Cemesh.+"})
"""


def _wrong(title: str, description: str, expr: str, *runbooks: str) -> Panel:
    """Return a panel of a number that is 0 while all is well."""
    return Panel(
        kind="stat",
        title=title,
        description=description,
        queries=[Query(expr=expr)],
        above=_WRONG,
        runbooks=runbooks,
        width=4,
        height=4,
    )


HEALTH: Final = Row(
    title="Is anything wrong?",
    panels=[
        _wrong(
            "Brokers that take no events",
            "Their channels are not available: producers get 503. `cemesh status` says why.",
            "sum(1 - min by (broker) (cemesh_channel_available{OF}))",
            "CemeshBrokerTakesNoEvents",
        ),
        _wrong(
            "Unaccounted events",
            "Events that the books do not balance by. Anything but 0 for minutes is a fault.",
            "sum(abs(sum by (trigger) (cemesh_unaccounted_events{OF})))",
            "CemeshEventsUnaccounted",
        ),
        _wrong(
            "Paused triggers",
            "Breakers that are open: subscribers that fail, and triggers that somebody has paused.",
            'sum(max by (trigger) (cemesh_trigger_state{OF,state=~"paused|probing"}))',
            "CemeshTriggerPaused",
        ),
        _wrong(
            "Parked events",
            "Events that hold their keys up until somebody sees to them: `cemesh parked`.",
            "sum(cemesh_parked_events{OF})",
            "CemeshEventsParked",
        ),
        _wrong(
            "Sources that do not run",
            "They cannot get at what they read, cannot store, or fail. `cemesh status` says why.",
            'sum(max by (kind, source) (cemesh_source_state{OF,state=~"unhealthy|restarting"}))',
            "CemeshSourceUnhealthy",
        ),
        _wrong(
            "Problems of the manifests",
            "The last change was refused for these; nothing of it runs. `cemesh check` tells them.",
            "max(cemesh_manifest_problems{OF})",
            "CemeshManifestsRefused",
            "CemeshClusterNotFollowed",
        ),
        Panel(
            kind="table",
            title="Alerts",
            description=(
                "Those that fire, and those that will if nothing changes. Click on a name for what "
                "to do. Empty where charts/alerts/cemesh.rules.yaml is not loaded."
            ),
            queries=[
                Query(
                    expr=_ALERTS,
                    legend="number",
                )
            ],
            link=TO_RUNBOOK,
            width=24,
            height=6,
        ),
    ],
)
