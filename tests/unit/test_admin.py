"""The admin port, over real sockets: health, metrics, status, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.errors import ChannelFull, ChannelUnavailable, Problem
from broker.filters import EVERYTHING
from broker.settings import Part
from broker.status import Declared, Manifests, SourceStatus
from tests.unit.stand_in import StandIn, admin_port, ask, event


async def test_a_live_process_is_healthy() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", "/healthz")

    assert (answer.status, answer.body) == (200, b"ok\n")


async def test_a_mesh_that_takes_events_is_ready() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", "/readyz")

    assert answer.status == 200
    assert json.loads(answer.body) == {"ready": True, "reasons": []}


async def test_a_mesh_that_takes_no_events_says_why() -> None:
    mesh = await StandIn.start()
    mesh.reasons = ["default/default: the disk is full"]
    async with admin_port(mesh) as port:
        answer = await ask(port, "GET", "/readyz")

    assert answer.status == 503
    assert json.loads(answer.body)["reasons"] == ["default/default: the disk is full"]


async def test_metrics_tell_what_the_mesh_counts() -> None:
    mesh = await StandIn.start()
    await mesh.mesh_channel.append([event("1"), event("2")])
    async with admin_port(mesh) as port:
        answer = await ask(port, "GET", "/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.body.decode())
    values = {each.name: each.value for family in families for each in family.samples}
    assert values["cemesh_accepted_events_total"] == 2


async def test_the_status_of_a_part_that_runs_apart_names_it() -> None:
    mesh = await StandIn.start()
    mesh.parts = frozenset({Part.DISPATCHER})
    async with admin_port(mesh) as port:
        found = json.loads((await ask(port, "GET", "/api/v1/status")).body)

    assert found["parts"] == ["dispatcher"]


async def test_the_manifests_say_where_each_object_is_and_what_is_wrong() -> None:
    mesh, file = await StandIn.start(), Path("mesh.yaml")
    mesh.manifests = Manifests(
        objects=[Declared(kind="Trigger", key="default/a", file=file, line=8)],
        warnings=[Problem(file=file, line=9, message="doubtful", severity="warning")],
    )
    mesh.problems = [Problem(file=file, line=3, subject="Trigger default/a", message="wrong")]
    async with admin_port(mesh) as port:
        found = json.loads((await ask(port, "GET", "/api/v1/manifests")).body)

    assert found["objects"] == [
        {"kind": "Trigger", "name": "default/a", "file": "mesh.yaml", "line": 8}
    ]
    assert [(each["line"], each["severity"]) for each in found["warnings"]] == [(9, "warning")]
    assert [(each["line"], each["message"]) for each in found["problems"]] == [(3, "wrong")]


async def test_the_status_names_brokers_triggers_sources_and_problems() -> None:
    mesh = await StandIn.start()
    mesh.sources = [
        SourceStatus(
            kind="PingSource",
            key="default/tick",
            broker="default/default",
            state="restarting",
            error="ValueError: no",
        )
    ]
    mesh.problems = [
        Problem(file=Path("mesh.yaml"), line=3, subject="Trigger default/a", message="wrong")
    ]
    async with (
        admin_port(mesh) as port,
        mesh.mesh_channel.subscribe("default/audit", filter=EVERYTHING, window=1),
    ):
        await mesh.mesh_channel.append([event()])
        found = json.loads((await ask(port, "GET", "/api/v1/status")).body)

    assert found["parts"] == ["ingress", "dispatcher", "sources"]
    (broker,) = found["brokers"]
    (trigger,) = broker.pop("triggers")
    oldest = datetime.fromisoformat(trigger.pop("oldestWaiting"))
    assert (datetime.now(UTC) - oldest).total_seconds() < 3600
    assert trigger == {
        "name": "default/audit",
        "subscriber": "http://127.0.0.1:9/",
        "inFlight": 0,
        "matched": 1,
        "delivered": 0,
        "deadLettered": 0,
        "waiting": 1,
        "unaccounted": 0,
        "state": "running",
        "why": None,
        "until": None,
        "parked": 0,
    }
    assert broker == {
        "name": "default/default",
        "channel": "memory",
        "accepted": 1,
        "unavailable": None,
    }
    assert found["sources"] == [
        {
            "kind": "PingSource",
            "name": "default/tick",
            "broker": "default/default",
            "state": "restarting",
            "error": "ValueError: no",
            "emitted": 0,
            "rejected": 0,
            "restarts": 0,
            "lag": None,
            "lagSince": None,
        }
    ]
    assert found["problems"] == [
        {
            "file": "mesh.yaml",
            "line": 3,
            "subject": "Trigger default/a",
            "path": "",
            "message": "wrong",
            "severity": "error",
        }
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nowhere", 404, "there is nothing at /nowhere"),
        ("GET", "/api/v1/brokers/default/other/tail", 404, "there is no broker default/other"),
        ("GET", "/api/v1/brokers/a/b/deadletters", 404, "there is no broker a/b"),
        ("POST", "/api/v1/status", 405, "Method Not Allowed"),
    ],
)
async def test_what_is_not_there_is_answered_with_a_problem_document(
    method: str, path: str, status: int, detail: str
) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, method, path)

    problem = json.loads(answer.body)
    assert answer.status == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"] == detail
    assert problem["title"]


@pytest.mark.parametrize(
    ("error", "status"), [(ChannelUnavailable("no disk"), 503), (ChannelFull("too much"), 429)]
)
async def test_an_unavailable_channel_is_told_with_a_time_to_come_back(
    error: Exception, status: int
) -> None:
    mesh = await StandIn.start()
    mesh.broken = error
    async with admin_port(mesh) as port:
        answer = await ask(port, "GET", "/api/v1/status")

    assert answer.status == status
    assert answer.headers["retry-after"] == "1"
    assert json.loads(answer.body)["detail"] == str(error)


async def test_a_bug_is_answered_with_a_problem_document_that_tells_no_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mesh = await StandIn.start()
    mesh.broken = RuntimeError("the password is 1234")
    async with admin_port(mesh) as port:
        answer = await ask(port, "GET", "/api/v1/status")

    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"1234" not in answer.body
    assert "the password is 1234" in caplog.text
