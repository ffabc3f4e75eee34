"""Dashboards and alerts, on what a real Prometheus has scraped from a real mesh."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from charts.dashboards import FILES
from tests.e2e.manifests import broker, event, manifest, steady, trigger
from tests.services.alertrules import RULES
from tests.services.grafana import Target, board, query
from tests.services.mesh import HOST, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.prometheus import Prometheus
from tests.services.subscribers import Request, Script, Subscriber, reply
from tests.services.tlsmesh import TlsMesh

BROKER = "default/default"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
SOON = 30.0

pytestmark = pytest.mark.timeout(120)

FEED = """
import asyncio
from datetime import UTC, datetime, timedelta

from cemesh import Event


class Feed:
    def __init__(self, context):
        self._context = context

    async def run(self, emit):
        uri = self._context.uri
        await emit(Event({"specversion": "1.0", "id": "1", "source": uri, "type": "fed"}))
        self._context.lag(7, since=datetime.now(UTC) - timedelta(hours=1))
        await asyncio.Event().wait()
"""

SOURCE = json.dumps(
    {
        "apiVersion": "cemesh.dev/v1alpha1",
        "kind": "Source",
        "metadata": {"name": "feed"},
        "spec": {
            "class": "feed:Feed",
            "sink": {
                "ref": {
                    "apiVersion": "eventing.knative.dev/v1",
                    "kind": "Broker",
                    "name": "default",
                }
            },
        },
    }
)


class Series(msgspec.Struct, kw_only=True):
    """What a query has found: the labels of one series, its time and its value."""

    metric: Mapping[str, str]
    value: tuple[float, str]


class Vector(msgspec.Struct, kw_only=True):
    result: Sequence[Series]


class Alert(msgspec.Struct, kw_only=True):
    state: str
    annotations: Mapping[str, str]


class Rule(msgspec.Struct, kw_only=True):
    name: str
    health: str
    alerts: Sequence[Alert] = ()


class Group(msgspec.Struct, kw_only=True):
    rules: Sequence[Rule]


class Rules(msgspec.Struct, kw_only=True):
    groups: Sequence[Group]


def settings(mesh: RunningMesh) -> str:
    """Return what the page shows, for this mesh, and with no need to wait."""
    block = r"<!-- file: prometheus.yml -->\n```yaml\n(.*?)```"
    shown = re.search(block, PAGE.read_text(), re.DOTALL)
    assert shown
    assert "127.0.0.1:8081" in shown[1]
    return shown[1].replace("127.0.0.1:8081", f"{HOST}:{mesh.admin_port}").replace("15s", "1s")


def server(folder: Path, promtool: Path, mesh: RunningMesh) -> Prometheus:
    folder.mkdir()
    (folder / RULES.name).write_bytes(RULES.read_bytes())
    return Prometheus(folder, promtool.with_name("prometheus"), settings(mesh))


@asynccontextmanager
async def running(prometheus: Prometheus) -> AsyncIterator[Prometheus]:
    await asyncio.to_thread(prometheus.start)
    try:
        yield prometheus
    finally:
        await asyncio.to_thread(prometheus.stop)


def answering(request: Request) -> Script:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"reply-{request.header('ce-id')}",
        "ce-source": "/replier",
        "ce-type": "answer",
    }
    return reply(200, headers, b"")


def manifests(subscriber: Subscriber) -> str:
    """Return triggers that are well, that fail, that give up, and that pause."""
    subscriber.answers("/good", answering)
    subscriber.answers("/failing", [503])
    subscriber.answers("/refusing", [400])
    subscriber.answers("/gone", [410])
    names = ("good", "failing", "refusing", "gone")
    return manifest(
        broker(),
        steady(),
        SOURCE,
        *(
            trigger(each, subscriber.url(f"/{each}"), type=each, retry=1_000, pauses=each == "gone")
            for each in names
        ),
    )


def targets() -> Iterator[Target]:
    for file in FILES:
        for panel in board(file).panels:
            yield from panel.targets


async def test_dashboards_and_alerts_tell_of_a_mesh(tmp_path: Path, promtool: Path) -> None:
    (tmp_path / "feed.py").write_text(FEED)
    async with Subscriber() as subscriber:
        mesh = TlsMesh(
            tmp_path / "mesh",
            manifests(subscriber),
            secured=["data"],  # whose certificate is told, too
            cwd=tmp_path,
            arguments=("--workers", "2"),
        )
        async with (
            mesh,
            running(server(tmp_path / "prometheus", promtool, mesh)) as asked,
        ):
            for each in ("good", "failing", "refusing", "gone"):
                assert await mesh.send(BROKER, event(each, type=each)) == 202
            assert (await mesh.request("POST", f"/{BROKER}", body=b"?")).status == 400
            mesh.manifest.write_text("kind: Nothing")
            await mesh.until(
                lambda status: (
                    bool(status.problems)
                    and told_of(status, "default/gone").state == "paused"
                    and told_of(status, "default/refusing").dead_lettered == 1
                )
            )

            await until_all_have_data(asked)
            await check_choices(asked)
            await until_alerts(asked)


async def until_all_have_data(prometheus: Prometheus) -> None:
    """Return once each query of the dashboards has found what its legend names."""
    left = {query(each.expr): each for each in targets()}
    assert len(left) > 40
    try:
        async with asyncio.timeout(SOON):
            while left:
                for each in list(left):
                    answer = await asyncio.to_thread(prometheus.get, "query", query=each)
                    found = msgspec.convert(answer, Vector).result
                    named = set(re.findall(r"\{\{(\w+)}}", left[each].legendFormat))
                    if found and all(named <= series.metric.keys() for series in found):
                        del left[each]
    except TimeoutError as late:
        late.add_note("\n".join(["--- these have found nothing, or not what they name", *left]))
        raise


async def check_choices(prometheus: Prometheus) -> None:
    """Check that each variable of the dashboards has something to choose from."""
    text = "".join(file.read_text().replace('\\"', '"') for file in FILES)
    queries = set(re.findall(r'"label_values\((.*), (\w+)\)"', text))
    assert len(queries) == 4
    for series, label in queries:
        path = f"label/{label}/values"
        assert await asyncio.to_thread(prometheus.get, path, **{"match[]": query(series)}), series


async def until_alerts(prometheus: Prometheus) -> None:
    """Return once the alerts that speak of this mesh are on their way, and no rule has failed."""
    expected = {"CemeshManifestsRefused", "CemeshTriggerPaused", "CemeshSourceBehind"}
    unexpected = {"CemeshProcessDown", "CemeshEventsUnaccounted", "CemeshBrokerTakesNoEvents"}
    told: dict[str, Sequence[Alert]] = {}
    async with asyncio.timeout(SOON):
        while not expected <= told.keys():
            answer = msgspec.convert(await asyncio.to_thread(prometheus.get, "rules"), Rules)
            rules = [rule for group in answer.groups for rule in group.rules]
            assert all(rule.health in {"ok", "unknown"} for rule in rules), rules
            told = {rule.name: rule.alerts for rule in rules if rule.alerts}
    assert not unexpected & told.keys()
    texts = [each.annotations for alerts in told.values() for each in alerts]
    written = [text for each in texts for text in each.values()]
    assert not [text for text in written if "<" in text or "error" in text], written
