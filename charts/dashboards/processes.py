"""How the processes of a mesh do: a row of panels for those who run it."""

from __future__ import annotations

from typing import Final

from charts.dashboards.board import Row
from charts.dashboards.panels import Panel, Query

PROCESSES: Final = Row(
    title="Processes",
    panels=[
        Panel(
            title="Memory",
            description=(
                "Resident memory. It is bounded for each trigger, and does not grow with what "
                "waits. With --workers it is that of the first process, and so is all else of this "
                "row."
            ),
            queries=[
                Query(expr="process_resident_memory_bytes{OF}", legend="{{instance}}"),
            ],
            unit="bytes",
            width=8,
        ),
        Panel(
            title="Processor",
            description=(
                "Cores in use. A process uses no more than one: `--workers`, or more parts."
            ),
            queries=[
                Query(
                    expr="rate(process_cpu_seconds_total{OF}[$__rate_interval])",
                    legend="{{instance}}",
                )
            ],
            width=8,
        ),
        Panel(
            title="Open files, of those allowed",
            description="Connections count. Near 100 %, none is accepted: raise `ulimit -n`.",
            queries=[
                Query(
                    expr="process_open_fds{OF} / process_max_fds{OF}",
                    legend="{{instance}}",
                )
            ],
            unit="percentunit",
            width=8,
        ),
        Panel(
            title="Starts",
            description=(
                "How often each process was started within the last half hour, as Prometheus saw "
                "it."
            ),
            queries=[
                Query(
                    expr="changes(process_start_time_seconds{OF}[30m])",
                    legend="{{instance}}",
                )
            ],
            runbooks=["CemeshProcessRestarts"],
            width=8,
        ),
        Panel(
            title="Workers",
            description="1 where a process of --workers runs. Empty where there are none.",
            queries=[
                Query(
                    expr="cemesh_worker_running{OF}",
                    legend="{{instance}} {{worker}}",
                )
            ],
            runbooks=["CemeshWorkerDown"],
            width=8,
        ),
        Panel(
            kind="table",
            title="Build",
            description=(
                "What runs where, and whether it answers. More than one version: a deployment is "
                "under way."
            ),
            queries=[
                Query(
                    expr="max by (instance, version) (cemesh_build_info{OF})",
                    legend="build",
                ),
                Query(expr="max by (instance) (up{OF})", legend="answers"),
                Query(
                    expr="max by (instance) (time() - process_start_time_seconds{OF})",
                    legend="runs for",
                    unit="s",
                ),
                Query(
                    expr="max by (instance) (cemesh_manifest_problems{OF})",
                    legend="manifest problems",
                ),
                Query(
                    expr=(
                        "min by (instance)"
                        " (cemesh_certificate_expiry_timestamp_seconds{OF} - time())"
                    ),
                    legend="certificates valid for",
                    unit="s",
                ),
            ],
            runbooks=[
                "CemeshProcessDown",
                "CemeshManifestsRefused",
                "CemeshClusterNotFollowed",
                "CemeshCertificateExpires",
            ],
            width=8,
        ),
    ],
)
