"""``cemesh status``, ``tail`` and ``deadletters`` as processes, against a real admin port."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.errors import Problem
from broker.filters import EVERYTHING
from broker.ports import Outcome
from broker.settings import Part
from broker.status import SourceStatus, TriggerState
from tests.unit.stand_in import (
    DEADLINE,
    StandIn,
    admin_port,
    cemesh,
    event,
    line,
    nobody_reads,
    running,
    served,
)


def at(port: int) -> tuple[str, str]:
    return "--admin-port", str(port)


# --- status --------------------------------------------------------------------------------


async def test_the_status_shows_the_books_of_every_trigger() -> None:
    mesh = await StandIn.start()
    async with (
        admin_port(mesh) as port,
        mesh.mesh_channel.subscribe("default/audit", filter=EVERYTHING, window=5) as cursor,
    ):
        await mesh.mesh_channel.append([event("1"), event("2"), event("3")])
        cursor.settle(await anext(cursor.claims()), Outcome.DELIVERED)
        ran = await cemesh("status", *at(port))

    broker, head, row = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert broker == "default/default  memory  3 accepted"
    assert re.split(" {2,}", head.strip()) == [
        "TRIGGER",
        "DELIVERED",
        "WAITING",
        "DEAD",
        "OLDEST WAITING",
        "IN FLIGHT",
        "SUBSCRIBER",
    ]
    cells = row.split()
    assert cells[:4] == ["default/audit", "1", "2", "0"]
    assert cells[-1] == "http://127.0.0.1:9/"


async def test_the_status_shows_what_is_wrong() -> None:
    mesh = await StandIn.start()
    mesh.backend.outage = "the disk is full"
    mesh.sources = [
        SourceStatus(
            kind="PingSource",
            key="default/tick",
            broker="default/default",
            state="restarting",
            error="no such zone",
            emitted=1234,
            rejected=2,
            lag=30,
        )
    ]
    mesh.problems = [Problem(file=Path("m.yaml"), line=3, subject="Trigger a/b", message="wrong")]
    async with admin_port(mesh) as port:
        ran = await cemesh("status", *at(port))

    assert "takes no events: the disk is full" in ran.out
    assert "no triggers" in ran.out
    heads, row = (line.split() for line in ran.out.splitlines() if "ource" in line.lower())
    assert heads == ["SOURCE", "BROKER", "STATE", "EMITTED", "REJECTED", "LAG", "ERROR"]
    assert row[:7] == [
        *("PingSource", "default/tick", "default/default", "restarting"),
        *("1,234", "2", "30"),
    ]
    assert row[7:] == ["no", "such", "zone"]
    assert (
        "The last change of the manifests was refused:\n  m.yaml:3: Trigger a/b: wrong" in ran.out
    )


async def test_the_status_says_why_a_trigger_does_not_just_run() -> None:
    mesh = await StandIn.start()
    until = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
    mesh.state = TriggerState(phase="paused", why="an attempt failed: oh", until=until)
    async with (
        admin_port(mesh) as port,
        mesh.mesh_channel.subscribe("default/audit", filter=EVERYTHING, window=5),
    ):
        ran = await cemesh("status", *at(port))

    local = until.astimezone()
    last = ran.out.splitlines()[-1]
    assert last == f"  default/audit is paused until {local:%H:%M:%S}: an attempt failed: oh"


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (Part.INGRESS, "cemesh ingress: triggers and sources run in other processes"),
        (Part.DISPATCHER, "cemesh dispatcher: ingress and sources run in other processes"),
        (Part.SOURCES, "cemesh sources: ingress and triggers run in other processes"),
    ],
)
async def test_the_status_of_a_part_that_runs_apart_says_what_runs_elsewhere(
    part: Part, told: str
) -> None:
    mesh = await StandIn.start()
    mesh.parts = frozenset({part})
    async with admin_port(mesh) as port:
        ran = await cemesh("status", *at(port))

    heading, blank, *brokers = ran.out.splitlines()
    assert (heading, blank) == (told, "")
    # Without triggers is only what would run them.
    assert brokers == [
        "default/default  memory  0 accepted",
        *(["  no triggers"] if part is Part.DISPATCHER else []),
    ]


async def test_the_status_for_scripts_is_the_document_of_the_api() -> None:
    async with admin_port(await StandIn.start()) as port:
        ran = await cemesh("status", *at(port), "--output", "json")

    assert json.loads(ran.out)["brokers"][0]["name"] == "default/default"


@pytest.mark.parametrize("command", [["status"], ["tail"], ["deadletters", "list"]])
async def test_where_no_mesh_answers_the_command_says_so(command: list[str]) -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        ran = await cemesh(*command, *at(port))

    assert ran.code == 3
    assert ran.out == ""
    assert ran.err.startswith(
        f"Error: no mesh answers at 127.0.0.1:{port}: is `cemesh run` running?"
    )


async def test_what_answers_but_is_no_mesh_is_not_taken_for_one() -> None:
    async def other(scope: object, receive: object, send: object) -> None:
        from starlette.responses import PlainTextResponse

        await PlainTextResponse("hello")(scope, receive, send)  # type: ignore[arg-type]  # ASGI

    async with served(other) as (port, _):
        ran = await cemesh("status", *at(port))

    assert ran.code == 3
    assert "is not cemesh" in ran.err


async def test_the_address_of_a_server_on_all_addresses_is_reached_over_loopback() -> None:
    async with admin_port(await StandIn.start()) as port:
        ran = await cemesh("status", *at(port), "--admin-host", "0.0.0.0")

    assert ran.code == 0


# --- tail ----------------------------------------------------------------------------------


async def test_tail_prints_events_as_they_are_stored() -> None:
    mesh = await StandIn.start()
    async with admin_port(mesh) as port, running("tail", *at(port)) as process:
        assert await line(process.stderr) == "Following default/default; Ctrl-C ends it.\n"
        await mesh.mesh_channel.append([event("7", b'{"n":  1}')])
        head, data = await line(process.stdout), await line(process.stdout)

    assert head.split()[1:] == ["com.example.test", "source=/test", "id=7"]
    assert data == '    {"n": 1}\n'


async def test_tail_for_scripts_prints_structured_events_and_ends_after_its_count() -> None:
    mesh = await StandIn.start()
    arguments = ("tail", "default/default", "--output", "json", "--count", "2")
    async with admin_port(mesh) as port, running(*arguments, *at(port)) as process:
        await line(process.stderr)
        await mesh.mesh_channel.append([event("1"), event("2"), event("3")])
        out, _ = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert [json.loads(each)["id"] for each in out.splitlines()] == ["1", "2"]
    assert process.returncode == 0


async def test_tail_of_no_broker_is_refused() -> None:
    async with admin_port(await StandIn.start()) as port:
        ran = await cemesh("tail", "default/other", *at(port))

    assert (ran.code, ran.err) == (1, "Error: there is no broker default/other\n")


async def test_tail_ends_with_the_mesh() -> None:
    mesh = await StandIn.start()
    async with admin_port(mesh) as port:
        running_tail = running("tail", *at(port))
        process = await running_tail.__aenter__()
        await line(process.stderr)
    await asyncio.wait_for(process.wait(), DEADLINE)
    await running_tail.__aexit__(None, None, None)

    assert process.returncode == 0


async def test_ctrl_c_ends_tail_quietly() -> None:
    async with admin_port(await StandIn.start()) as port, running("tail", *at(port)) as process:
        await line(process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert (process.returncode, out, err) == (130, b"", b"")


async def test_tail_ends_quietly_when_nobody_reads_what_it_prints() -> None:
    mesh = await StandIn.start()
    arguments = ("tail", "--output", "json")
    async with (
        admin_port(mesh) as port,
        running(*arguments, *at(port), stdout=nobody_reads()) as process,
    ):
        await line(process.stderr)
        await mesh.mesh_channel.append([event("1")])
        _, err = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert (process.returncode, err) == (1, b"")


# --- deadletters ---------------------------------------------------------------------------


async def test_dead_letters_are_listed() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("e1"))
    async with admin_port(mesh) as port:
        ran = await cemesh("deadletters", "list", *at(port))

    _, row = ran.out.splitlines()
    assert row.split()[:2] == ["0000000000000001", "default/audit"]
    assert row.split()[4:] == ["com.example.test", "e1", "3", "answered", "500"]


async def test_a_list_that_goes_on_says_how() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), event("2"))
    async with admin_port(mesh) as port:
        first = await cemesh("deadletters", "list", "--limit", "1", *at(port))
        after = first.err.split()[-1]
        second = await cemesh(
            "deadletters", "list", "--limit", "1", "--after", after, "--output", "json", *at(port)
        )

    assert first.err == "There may be more: --after 0000000000000001\n"
    assert json.loads(second.out)["deadLetters"][0]["event"]["id"] == "2"


async def test_an_empty_list_is_no_error() -> None:
    async with admin_port(await StandIn.start()) as port:
        ran = await cemesh("deadletters", "list", "--trigger", "a/b", *at(port))

    assert (ran.code, ran.out) == (0, "No dead letters.\n")


async def test_a_dead_letter_is_shown_with_its_event_and_the_answer() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("e1", b'{"n": 1e400}'), body=b"\x1b[2Jout of order")
    async with admin_port(mesh) as port:
        text = await cemesh("deadletters", "show", "0000000000000001", *at(port))
        document = await cemesh(
            "deadletters", "show", "0000000000000001", "--output", "json", *at(port)
        )

    assert "trigger      default/audit\n" in text.out
    assert "status       500\n" in text.out
    assert "answer       \\u001b[2Jout of order\n" in text.out
    assert '"n": 1e400' in text.out
    assert '"data":{"n": 1e400}' in document.out
    assert json.loads(document.out)["why"]["attempts"] == 3


async def test_a_dead_letter_that_is_not_there_is_an_error() -> None:
    async with admin_port(await StandIn.start()) as port:
        ran = await cemesh("deadletters", "show", "../17", *at(port))

    assert ran.code == 1
    assert "there is no dead letter" in ran.err or "there is nothing at" in ran.err


async def test_dead_letters_are_redriven() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), event("2"))
    async with admin_port(mesh) as port:
        one = await cemesh("deadletters", "redrive", "0000000000000002", "17", *at(port))
        rest = await cemesh("deadletters", "redrive", "--all", "--output", "json", *at(port))

    assert (one.code, one.out) == (1, "1 redriven, 1 kept\n")
    assert one.err == "17: there is no such dead letter\n"
    assert rest.code == 0
    assert json.loads(rest.out) == {"redriven": ["0000000000000001"], "kept": {}}
    assert await mesh.mesh_channel.dead_letters.list() == []


async def test_dead_letters_of_one_trigger_are_redriven() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), trigger="default/audit")
    await mesh.bury(event("2"), trigger="default/mail")
    async with admin_port(mesh) as port:
        ran = await cemesh("deadletters", "redrive", "--trigger", "default/mail", *at(port))

    assert ran.out == "1 redriven, 0 kept\n"
    (left,) = await mesh.mesh_channel.dead_letters.list()
    assert left.trigger == "default/audit"


@pytest.mark.parametrize("which", [[], ["1", "--all"], ["--all", "--trigger", "a/b"]])
async def test_a_redrive_must_say_in_one_way_what_it_means(which: list[str]) -> None:
    ran = await cemesh("deadletters", "redrive", *which)

    assert ran.code == 2
    assert "exactly one of" in ran.err
