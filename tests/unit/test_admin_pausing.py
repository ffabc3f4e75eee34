"""Pausing and resuming triggers, over the admin API and by the command line."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from broker.trigger import Target, Trigger
from tests.unit.stand_in import BROKER, Answer, StandIn, admin_port, ask, cemesh

AUDIT = "default/audit"
PAUSE = f"/api/v1/triggers/{AUDIT}/pause"
RESUME = f"/api/v1/triggers/{AUDIT}/resume"


async def standing_in() -> StandIn:
    mesh = await StandIn.start()
    mesh.running = [Trigger(key=AUDIT, broker=BROKER, subscriber=Target(url="http://a.test/"))]
    return mesh


async def pause(port: int, body: bytes) -> Answer:
    return await ask(port, "POST", PAUSE, body)


async def test_a_trigger_is_paused_with_a_reason_and_resumed() -> None:
    mesh = await standing_in()
    async with admin_port(mesh) as port:
        answer = await pause(port, b'{"why": "the ledger moves"}')
        paused = await mesh.mesh_channel.pauses.all()
        resumed = await ask(port, "POST", RESUME)

    told = json.loads(answer.body)
    assert (answer.status, told["trigger"], told["why"]) == (200, AUDIT, "the ledger moves")
    assert datetime.fromisoformat(told["since"]) == paused[AUDIT].since
    assert json.loads(resumed.body) == {"trigger": AUDIT, "why": None, "since": None}
    assert await mesh.mesh_channel.pauses.all() == {}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Input data was truncated"),
        (b"{}", "missing required field `why`"),
        (b'{"why": " "}', "'why' must have 1 to 1000 characters"),
        (b'{"why": "' + b"x" * 1001 + b'"}', "'why' must have 1 to 1000 characters"),
        (b'{"why": "x", "until": 1}', "unknown field `until`"),
    ],
)
async def test_a_request_that_does_not_say_why_is_refused(body: bytes, detail: str) -> None:
    async with admin_port(await standing_in()) as port:
        answer = await pause(port, body)

    assert answer.status == 400
    assert detail in json.loads(answer.body)["detail"]


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with admin_port(await standing_in()) as port:
        assert (await pause(port, bytes(20_000))).status == 413


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_a_trigger_that_is_not_there_is_not_found(verb: str) -> None:
    async with admin_port(await standing_in()) as port:
        path = f"/api/v1/triggers/default/other/{verb}"
        answer = await ask(port, "POST", path, b'{"why": "x"}')

    assert answer.status == 404
    assert "default/other" in json.loads(answer.body)["detail"]


async def test_the_commands_pause_and_resume() -> None:
    mesh = await standing_in()
    async with admin_port(mesh) as port:
        paused = await cemesh(
            "pause", AUDIT, "--why", "the ledger moves", "--admin-port", str(port)
        )
        why = (await mesh.mesh_channel.pauses.all())[AUDIT].why
        resumed = await cemesh("resume", AUDIT, "--output", "json", "--admin-port", str(port))

    assert (paused.code, paused.out) == (0, f"{AUDIT} is paused: the ledger moves\n")
    assert why == "the ledger moves"
    assert json.loads(resumed.out) == {"trigger": AUDIT, "why": None, "since": None}
    assert await mesh.mesh_channel.pauses.all() == {}


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_the_commands_say_that_there_is_no_such_trigger(verb: str) -> None:
    async with admin_port(await standing_in()) as port:
        ran = await cemesh(verb, "default/other", "--admin-port", str(port))

    assert ran.code == 1
    assert "the mesh has no trigger default/other" in ran.err
