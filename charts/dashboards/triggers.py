"""For those who own triggers: what has become of their events, and why some are not delivered."""

from __future__ import annotations

from typing import Final

from charts.dashboards.board import Dashboard, Row, Variable
from charts.dashboards.durations import DURATIONS
from charts.dashboards.links import FROM_ROW
from charts.dashboards.panels import Panel, Query, Text
from charts.dashboards.states import TRIGGER_STATES, worst

_FIRST: Final = """\
* **paused**: the subscriber fails, answered 410, or somebody paused it.
  [What to do](${runbooks}/CemeshTriggerPaused.md)
* **running, attempts fail**: `cemesh events --trigger NS/NAME --outcome waiting` names events, and
  `cemesh event ID` says what each answer was
* **running, none fail, it waits**: the subscriber is slow, or a limit is reached.
  [What to do](${runbooks}/CemeshTriggerBehind.md)
* **parked**: somebody has to decide. [What to do](${runbooks}/CemeshEventsParked.md)
* **dead letters**: given up, and kept. [What to do](${runbooks}/CemeshDeadLetters.md)
* **nothing matched**: `cemesh explain --id ID` says why
"""

_FAILED: Final = """
    sum by (trigger) (rate(
        cemesh_attempts_total{OF,to="subscriber",outcome!~"delivered|untried"}[$__rate_interval]))
    / (sum by (trigger) (rate(
        cemesh_attempts_total{OF,to="subscriber",outcome!="untried"}[$__rate_interval])) > 0)
"""

_WHY: Final = Row(
    title="Why is it not delivered?",
    panels=[
        Panel(
            kind="table",
            title="Triggers",
            description=(
                "Begin here. The state is the worst of all processes; waiting counts what is "
                "between two attempts and what is parked. Click on a trigger to see it alone."
            ),
            queries=[
                Query(
                    expr=worst("cemesh_trigger_state", TRIGGER_STATES, by="trigger"),
                    legend="state",
                ),
                Query(expr="sum by (trigger) (cemesh_waiting_events{OF})", legend="waiting"),
                Query(
                    expr="max by (trigger) (cemesh_oldest_waiting_seconds{OF})",
                    legend="oldest waiting",
                    unit="s",
                ),
                Query(expr=_FAILED, legend="attempts failed", unit="percentunit"),
                Query(expr="sum by (trigger) (cemesh_in_flight_attempts{OF})", legend="in flight"),
                Query(expr="sum by (trigger) (cemesh_parked_events{OF})", legend="parked"),
                Query(
                    expr="sum by (trigger) (cemesh_dead_lettered_events_total{OF})",
                    legend="dead letters",
                ),
            ],
            states=TRIGGER_STATES,
            states_in="state",
            link=FROM_ROW,
            runbooks=["CemeshTriggerPaused", "CemeshTriggerBehind", "CemeshDeadLetters"],
            width=17,
            height=10,
        ),
        Text(title="What to look at", content=_FIRST, width=7, height=10),
        Panel(
            kind="state-timeline",
            title="State",
            description=(
                "Paused: no attempts until the pause is over, or somebody resumes it. Held: the "
                "subscriber asked for that by Retry-After. `cemesh status` says why, and until "
                "when."
            ),
            queries=[
                Query(
                    expr=worst("cemesh_trigger_state", TRIGGER_STATES, by="trigger"),
                    legend="{{trigger}}",
                )
            ],
            states=TRIGGER_STATES,
            runbooks=["CemeshTriggerPaused"],
            width=24,
        ),
    ],
)

_DONE: Final = Row(
    title="What became of the events",
    panels=[
        Panel(
            title="Delivered",
            description="Events that the subscriber took, each second.",
            queries=[
                Query(
                    expr="""sum by (trigger) (rate(
                        cemesh_attempts_total{OF,to="subscriber",outcome="delivered"}[$__rate_interval]))""",
                    legend="{{trigger}}",
                )
            ],
            unit="cps",
        ),
        Panel(
            title="Waiting",
            description=(
                "Events that matched and are neither delivered nor dead letters, those between two "
                "attempts included. Where it only grows, less is delivered than comes in."
            ),
            queries=[
                Query(expr="sum by (trigger) (cemesh_waiting_events{OF})", legend="{{trigger}}")
            ],
        ),
        Panel(
            title="Oldest waiting",
            description=(
                "How far each trigger is behind. An event between two attempts counts: some "
                "minutes are its retries (`cemesh explain --delivery NS/NAME` says how long they "
                "take)."
            ),
            queries=[
                Query(
                    expr="max by (trigger) (cemesh_oldest_waiting_seconds{OF})",
                    legend="{{trigger}}",
                )
            ],
            unit="s",
            runbooks=["CemeshTriggerBehind"],
        ),
        Panel(
            title="Given up",
            description=(
                "Events that became dead letters, by where they are now: what is in the store can "
                "be listed and redriven (`cemesh deadletters`), what a dead-letter sink took is "
                "there."
            ),
            queries=[
                Query(
                    expr="""sum by (trigger, to) (
                        increase(cemesh_given_up_events_total{OF}[$__rate_interval]))""",
                    legend="{{trigger}} to the {{to}}",
                )
            ],
            runbooks=["CemeshDeadLetters"],
        ),
    ],
)

_ATTEMPTS: Final = Row(
    title="Attempts",
    panels=[
        Panel(
            title="Attempts at subscribers, by what became of them",
            description=(
                "Refused is for good: look at what the subscriber answers. Exhausted: the retries "
                "are used up. Untried: nothing could be sent, for want of consent or of "
                "credentials."
            ),
            queries=[
                Query(
                    expr="""sum by (outcome) (rate(
                        cemesh_attempts_total{OF,to="subscriber"}[$__rate_interval]))""",
                    legend="{{outcome}}",
                )
            ],
            unit="cps",
            stacked=True,
        ),
        Panel(
            title="Share of attempts that failed",
            description="Of those that were made. `cemesh event ID` has each answer of an event.",
            queries=[Query(expr=_FAILED, legend="{{trigger}}")],
            unit="percentunit",
        ),
        Panel(
            title="In flight",
            description=(
                "Attempts under way. Where it stays at the trigger's parallelism and events wait, "
                "the subscriber is what is slow."
            ),
            queries=[
                Query(
                    expr="sum by (trigger) (cemesh_in_flight_attempts{OF})",
                    legend="{{trigger}}",
                )
            ],
        ),
        Panel(
            title="Replies",
            description="Replies of subscribers that were stored as events, each second.",
            queries=[
                Query(
                    expr="sum by (trigger) (rate(cemesh_reply_events_total{OF}[$__rate_interval]))",
                    legend="{{trigger}}",
                )
            ],
            unit="cps",
        ),
    ],
)


_IN_NAMESPACE: Final = 'job="$job",trigger=~"$namespace/.+"'

TRIGGERS: Final = Dashboard(
    uid="cemesh-triggers",
    title="cemesh: triggers",
    description="For those who own triggers: what has become of their events, and why some wait.",
    of=f'{_IN_NAMESPACE},trigger=~"$trigger"',
    variables=[
        Variable(name="job", label="Mesh", query="label_values(cemesh_build_info, job)"),
        Variable(
            name="namespace",
            label="Namespace",
            query='label_values(cemesh_trigger_state{job="$job"}, trigger)',
            regex="/^([^\\/]+)\\//",
            all="[^/]+",
        ),
        Variable(
            name="trigger",
            label="Trigger",
            query=f"label_values(cemesh_trigger_state{{{_IN_NAMESPACE}}}, trigger)",
            all=".+",
        ),
    ],
    rows=[_WHY, _DONE, _ATTEMPTS, DURATIONS],
)
