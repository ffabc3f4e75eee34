"""What holds for every test: in CI nothing is skipped, and Hypothesis looks harder."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

import hypothesis
import pytest

pytest_plugins = [
    "tests.services.chromium",
    "tests.services.kafka.fixtures",
    "tests.services.kubernetes.fixtures",
    "tests.services.late",
    "tests.services.measuring",
    "tests.services.mqtt.fixtures",
    "tests.services.postgresql.fixtures",
    "tests.services.promtool",
    "tests.services.rabbitmq.fixtures",
    "tests.services.redis.fixtures",
    "tests.services.s3.fixtures",
    "tests.services.tasks",
    "tests.services.workers",
]

IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

_WAITING: Final = {"console", "contract", "e2e"}
"""The folders of tests that wait more than they work."""

# A shell that runs the tests in the background has them ignore what Ctrl-C sends, and by that all
# programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A shared machine makes deadlines and health checks of speed say nothing about the code.
hypothesis.settings.register_profile(
    "desk", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "ci",
    hypothesis.settings.get_profile("desk"),
    max_examples=200,
    derandomize=False,
    print_blob=True,
)
hypothesis.settings.load_profile("ci" if IN_CI else "desk")


@pytest.hookimpl(trylast=True)  # after Hypothesis has marked its tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A property is one test, tried many times.
    for item in items:
        if item.get_closest_marker("hypothesis") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))
    items[:] = _mixed(items)


def _mixed(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the files whose tests wait for servers evenly between those that keep a core busy."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if _WAITING & set(path.parts)]
    busy = [path for path in files if not _WAITING & set(path.parts)]
    mixed: list[Path] = []
    for number, path in enumerate(waiting):
        mixed.append(path)
        share = slice(*(each * len(busy) // len(waiting) for each in (number, number + 1)))
        mixed += busy[share]
    return [item for path in mixed or busy for item in files[path]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI and report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    # A desk may lack a server or a tool; in CI a test that does not run proves nothing.
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"CI skips no test, and this one was skipped: {reason}"
