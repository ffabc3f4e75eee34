"""Releases that have objects for others in the cluster, by the files in `beside`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from charts.values_docs import CHART
from tests.chart.rendering import NAMESPACE, RELEASE, Rendered, rendered, run, template

BESIDE: Final = {
    file.stem: file for file in sorted(Path(__file__, "..", "beside").resolve().glob("*.yaml"))
}
"""The sets of values, by the channel."""

CLUSTER: Final = "apiregistration.k8s.io/v1"
"""What every API server has, and helm does not suppose where it talks to none."""


@cache
def beside(helm: Path, name: str) -> Rendered:
    """Return the release that comes of these values."""
    return rendered(template(helm, BESIDE[name]))


def on_cluster(helm: Path, *kinds: str, **values: str) -> str:
    """Return what helm prints of ``values``, by paths with `__`, for a cluster with these kinds.

    Kubernetes' own are there, too. Raises Refused.
    """
    given = [f"--set={path.replace('__', '.')}={value}" for path, value in values.items()]
    has = [f"--api-versions={each}" for each in (CLUSTER, *kinds)]
    return run(helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *given, *has)
