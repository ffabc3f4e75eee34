"""What is changed over the admin port is in the audit log, whoever adds a route."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.routing import Route

from broker.status import Parked
from broker.trigger import Target, Trigger
from tests.unit.stand_in import (
    BROKER,
    StandIn,
    admin_port,
    application,
    ask,
    cemesh,
    event,
    refusal,
)

AUDIT = "default/audit"
TRIGGER = f"/api/v1/triggers/{AUDIT}"
REDRIVE = f"/api/v1/brokers/{BROKER}/deadletters/redrive"
READING = {("POST", "/api/v1/brokers/{namespace}/{name}/explain")}
"""What changes nothing, by whichever method."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def standing_in() -> StandIn:
    mesh = await StandIn.start()
    mesh.running = [Trigger(key=AUDIT, broker=BROKER, subscriber=Target(url="http://a.test/"))]
    return mesh


def audited(file: Path) -> list[dict[str, object]]:
    """Return the lines, without their times."""
    if not file.exists():
        return []
    lines = [json.loads(each) for each in file.read_text().splitlines()]
    return [{name: each for name, each in line.items() if name != "time"} for line in lines]


async def changing() -> list[tuple[str, str]]:
    """Return method and path of each route that may change something."""
    routes = application(await StandIn.start(), asyncio.Event()).routes
    found = [
        (method, each.path)
        for each in routes
        if isinstance(each, Route)
        for method in each.methods or ()
        if method not in ("GET", "HEAD")
    ]
    assert len(found) == len({*found})
    return sorted({*found} - READING)


async def test_no_route_changes_anything_unaudited(file: Path) -> None:
    routes = await changing()
    async with admin_port(await standing_in(), audit_file=file) as port:
        for method, path in routes:
            await ask(port, method, re.sub(r"{\w+}", "audit", path), b"{}")

    assert len(routes) >= 6
    assert [each["action"] for each in audited(file)] == [
        path.rpartition("/")[2] for _, path in routes
    ]
    assert {each["peer"] for each in audited(file)} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/log"),
        ("POST", "/api/v1/status"),
        ("POST", "/nowhere"),
        ("POST", f"/api/v1/brokers/{BROKER}/explain"),
    ],
)
async def test_what_changes_nothing_is_not_audited(method: str, path: str, file: Path) -> None:
    async with admin_port(await standing_in(), audit_file=file) as port:
        await ask(port, method, path, b"" if method == "POST" else None)

    assert audited(file) == []


@pytest.mark.parametrize(
    ("headers", "who"),
    [
        ({}, {}),
        ({"X-Cemesh-User": "ann%40sea@desk"}, {"claimed_user": "ann@sea@desk"}),
        ({"X-Forwarded-User": "ann"}, {"forwarded_user": "ann"}),
        ({"X-Cemesh-User": "a" * 900}, {"claimed_user": "a" * 200}),
        ({"X-Cemesh-User": "a%0Ab"}, {"claimed_user": "a\nb"}),
    ],
)
async def test_a_line_says_who_it_was_as_far_as_they_say(
    headers: Mapping[str, str], who: Mapping[str, str], file: Path
) -> None:
    async with admin_port(await standing_in(), audit_file=file) as port:
        await ask(port, "POST", f"{TRIGGER}/resume", headers=headers)

    assert audited(file) == [
        {
            "action": "resume",
            "subject": f"Trigger {AUDIT}",
            "outcome": "done",
            "peer": "127.0.0.1",
            **who,
        }
    ]


async def test_a_pause_is_audited_with_its_reason_by_the_command_with_its_user(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "änn")
    async with admin_port(await standing_in(), audit_file=file) as port:
        ran = await cemesh("pause", AUDIT, "--why", "it moves", "--admin-port", str(port))

    (line,) = audited(file)
    assert ran.code == 0
    assert (line["action"], line["outcome"], line["why"]) == ("pause", "done", "it moves")
    assert str(line["claimed_user"]).startswith("änn@")


async def test_what_is_refused_is_audited_with_what_was_wrong(file: Path) -> None:
    async with admin_port(await standing_in(), audit_file=file) as port:
        await ask(port, "POST", f"{TRIGGER}/pause", b'{"why": " "}')
        await ask(port, "POST", "/api/v1/triggers/default/other/resume")

    bad, missing = audited(file)
    assert (bad["outcome"], bad["problem"]) == ("refused", "'why' must have 1 to 1000 characters")
    assert (missing["outcome"], missing["subject"]) == ("refused", "Trigger default/other")
    assert missing["problem"] == "the mesh has no trigger default/other"


async def test_what_the_channel_does_not_take_has_failed(file: Path) -> None:
    mesh = await standing_in()
    async with admin_port(mesh, audit_file=file) as port:
        mesh.backend.outage = "the disk is full"
        await ask(port, "POST", f"{TRIGGER}/pause", b'{"why": "x"}')

    (line,) = audited(file)
    assert (line["outcome"], line["problem"]) == ("failed", "the disk is full")


async def test_a_redrive_is_audited_with_what_was_redriven_and_kept(file: Path) -> None:
    mesh = await standing_in()
    await mesh.bury(event("1"))
    (letter,) = await mesh.mesh_channel.dead_letters.list()
    async with admin_port(mesh, audit_file=file) as port:
        await ask(port, "POST", REDRIVE, json.dumps({"ids": [letter.id, "nine"]}).encode())

    (line,) = audited(file)
    assert (line["action"], line["subject"]) == ("redrive", f"Broker {BROKER}")
    assert (line["redriven"], line["kept"]) == ([letter.id], ["nine"])


@pytest.mark.parametrize("verb", ["retry", "skip"])
async def test_an_order_is_audited_with_the_events_it_means(verb: str, file: Path) -> None:
    mesh = await standing_in()
    since = datetime.now(UTC)
    mesh.waits = [Parked(id="7", source="/shop", key="k", since=since, why=refusal())]
    async with admin_port(mesh, audit_file=file) as port:
        await ask(port, "POST", f"{TRIGGER}/parked/{verb}", b'{"id": "7", "why": "mended"}')

    (line,) = audited(file)
    assert (line["action"], line["outcome"]) == (verb, "ordered")
    assert (line["why"], line["events"]) == ("mended", ["/shop 7"])


async def test_it_is_audited_before_it_is_answered(file: Path) -> None:
    async with admin_port(await standing_in(), audit_file=file) as port:
        await ask(port, "POST", f"{TRIGGER}/resume")

        assert len(audited(file)) == 1


async def test_a_change_is_made_also_where_it_cannot_be_audited(tmp_path: Path) -> None:
    mesh = await standing_in()
    async with admin_port(mesh, audit_file=tmp_path / "gone" / "audit.jsonl") as port:
        answer = await ask(port, "POST", f"{TRIGGER}/pause", b'{"why": "x"}')
        paused = await mesh.mesh_channel.pauses.all()

    assert answer.status == 200
    assert AUDIT in paused
