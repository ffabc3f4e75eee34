"""Where clicks in one panel lead."""

from __future__ import annotations

from typing import Final

from charts.dashboards.panels import Link

_TRIGGERS: Final = "/d/cemesh-triggers?${datasource:queryparam}&${job:queryparam}"


def _of(trigger: str) -> str:
    return f"{_TRIGGERS}&var-trigger=${{{trigger}:percentencode}}&${{__url_time_range}}"


FROM_ROW: Final = Link(
    title="This trigger alone", url=_of("__data.fields.trigger"), within="trigger"
)
FROM_SERIES: Final = Link(title="This trigger alone", url=_of("__field.labels.trigger"))
TO_RUNBOOK: Final = Link(
    title="What to do", url="${runbooks}/${__data.fields.alertname}.md", within="alertname"
)
