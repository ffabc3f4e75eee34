"""Events that are sent into a broker over the admin port, and dead letters redriven as edited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.event import Event
from broker.filters import EVERYTHING
from broker.ports import Origin, Reason, Unwatched
from tests.unit.stand_in import BROKER, MAX_EVENT_BYTES, Answer, StandIn, admin_port, ask, event

SEND = f"/api/v1/brokers/{BROKER}/send"
LETTERS = f"/api/v1/brokers/{BROKER}/deadletters"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BINARY = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/desk", "ce-type": "order"}
DOCUMENT = {"specversion": "1.0", "id": "7", "source": "/desk", "type": "order", "data": {"n": 2}}


class Noted(Unwatched):
    """What a mesh is told of events that come in."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str, str]] = []
        self.refusals: list[tuple[str | None, int, str]] = []

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        self.came += [(each.id, origin.kind, origin.who) for each in events]

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        self.refusals.append((broker, status, reason))


async def kept(mesh: StandIn) -> list[str]:
    return [each.event.id for each in await mesh.mesh_channel.history()]


async def edit(port: int, letter: str, document: object) -> Answer:
    body = json.dumps(document).encode()
    return await ask(port, "POST", f"{LETTERS}/{letter}/redrive", body, STRUCTURED)


async def test_an_event_is_stored_and_told_as_a_request_over_the_admin_port(tmp_path: Path) -> None:
    mesh, watch, file = await StandIn.start(), Noted(), tmp_path / "audit.jsonl"
    async with admin_port(mesh, watch=watch, audit_file=file) as port:
        answer = await ask(port, "POST", SEND, b"hello", {**BINARY, "Content-Type": "text/plain"})

    assert answer.status == 200
    assert json.loads(answer.body) == {
        "broker": BROKER,
        "events": [{"source": "/desk", "id": "7"}],
    }
    assert await kept(mesh) == ["7"]
    assert watch.came == [("7", "request", "127.0.0.1 over the admin port")]
    line = json.loads(file.read_text())
    assert (line["action"], line["subject"]) == ("send", f"Broker {BROKER}")
    assert (line["outcome"], line["events"]) == ("done", ["/desk 7"])


async def test_a_batch_is_stored_whole() -> None:
    mesh = await StandIn.start()
    batch = json.dumps([DOCUMENT, {**DOCUMENT, "id": "8"}]).encode()
    content_type = {"Content-Type": "application/cloudevents-batch+json"}
    async with admin_port(mesh) as port:
        answer = await ask(port, "POST", SEND, batch, content_type)

    assert [each["id"] for each in json.loads(answer.body)["events"]] == ["7", "8"]
    assert await kept(mesh) == ["7", "8"]


@pytest.mark.parametrize(
    ("headers", "body", "status", "detail"),
    [
        ({**BINARY, "ce-id": ""}, b"", 400, "id"),
        ({**BINARY, "ce-knativebrokerttl": "0"}, b"", 400, "gone round"),
        (STRUCTURED, b'{"specversion": "1.0"', 400, "not valid JSON"),
        ({"Content-Type": "application/cloudevents+xml"}, b"<event/>", 415, "xml"),
        (BINARY, b"x" * (MAX_EVENT_BYTES + 1), 413, "larger than"),
    ],
)
async def test_what_the_data_port_would_refuse_is_refused_alike_and_counted(
    headers: dict[str, str], body: bytes, status: int, detail: str
) -> None:
    mesh, watch = await StandIn.start(), Noted()
    async with admin_port(mesh, watch=watch) as port:
        answer = await ask(port, "POST", SEND, body, headers)

    assert answer.status == status
    assert detail in json.loads(answer.body)["detail"]
    assert await kept(mesh) == []
    assert [each[:2] for each in watch.refusals] == [(BROKER, status)]


async def test_a_broker_that_asks_who_sends_asks_here_too() -> None:
    mesh, watch = await StandIn.start(), Noted()
    mesh.clients = {"desk": "secret"}
    async with admin_port(mesh, watch=watch) as port:
        stranger = await ask(port, "POST", SEND, b"", BINARY)
        known = await ask(port, "POST", SEND, b"", {**BINARY, "Authorization": "Bearer secret"})

    assert (stranger.status, known.status) == (401, 200)
    assert watch.came == [("7", "request", "desk at 127.0.0.1 over the admin port")]


async def test_nothing_is_sent_while_the_store_is_away_or_into_no_broker() -> None:
    mesh = await StandIn.start()
    mesh.backend.outage = "the disk is gone"
    async with admin_port(mesh) as port:
        away = await ask(port, "POST", SEND, b"", BINARY)
        nowhere = await ask(port, "POST", SEND.replace(BROKER, "default/other"), b"", BINARY)

    assert (away.status, json.loads(away.body)["detail"]) == (503, "the disk is gone")
    assert away.headers["retry-after"] == "1"
    assert (nowhere.status, "no broker" in nowhere.body.decode()) == (404, True)


async def test_a_page_of_another_origin_cannot_send() -> None:
    mesh = await StandIn.start()
    async with admin_port(mesh) as port:
        answer = await ask(port, "POST", SEND, b"", {**BINARY, "Origin": "https://evil.test"})

    assert answer.status == 403
    assert await kept(mesh) == []


async def test_a_dead_letter_is_redriven_as_it_was_edited(tmp_path: Path) -> None:
    mesh, file = await StandIn.start(), tmp_path / "audit.jsonl"
    await mesh.bury(event("1"))
    (letter,) = await mesh.mesh_channel.dead_letters.list()
    async with (
        mesh.mesh_channel.subscribe("default/audit", filter=EVERYTHING, window=10) as cursor,
        admin_port(mesh, audit_file=file) as port,
    ):
        answer = await edit(port, letter.id, DOCUMENT)
        claim = await anext(cursor.claims())

    assert json.loads(answer.body) == {"redriven": [letter.id], "kept": {}}
    assert (claim.event.id, claim.event.data) == ("7", b'{"n": 2}')
    assert await mesh.mesh_channel.dead_letters.list() == []
    line = json.loads(file.read_text())
    assert (line["action"], line["letter"], line["event"]) == ("redrive", letter.id, "/desk 7")


@pytest.mark.parametrize(
    "edited", [{**DOCUMENT, "id": ""}, {**DOCUMENT, "Ärger": "x"}, {**DOCUMENT, "type": None}, []]
)
async def test_an_edited_event_that_is_none_is_refused_and_the_letter_stays(edited: object) -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"))
    (letter,) = await mesh.mesh_channel.dead_letters.list()
    async with admin_port(mesh) as port:
        answer = await edit(port, letter.id, edited)

    assert answer.status == 400
    assert await mesh.mesh_channel.dead_letters.list() == [letter]


async def test_a_letter_stays_where_the_edited_event_cannot_be_stored() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"))
    (letter,) = await mesh.mesh_channel.dead_letters.list()
    async with admin_port(mesh) as port:
        mesh.backend.outage = "the disk is full"
        answer = await edit(port, letter.id, DOCUMENT)
        mesh.backend.outage = None
        unknown = await edit(port, "17", DOCUMENT)

    assert answer.status == 503
    assert await mesh.mesh_channel.dead_letters.list() == [letter]
    assert json.loads(unknown.body)["kept"] == {"17": "there is no such dead letter"}
