"""Stored events over the admin API."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from broker.event import Event
from tests.unit.stand_in import BROKER, Answer, StandIn, admin_port, ask, event

EVENTS = f"/api/v1/brokers/{BROKER}/events"


def ids(answer: Answer) -> list[str]:
    return [stored["event"]["id"] for stored in json.loads(answer.body)["events"]]


async def test_a_stored_event_is_listed_with_its_attributes_and_without_its_payload() -> None:
    mesh = await StandIn.start()
    began = datetime.now(UTC)
    sent = event("e1", subject="order 7", n="-5", flag="true", digits="5")
    await mesh.mesh_channel.append(
        [Event.checked(sent.attributes, sent.data, {"n": "integer", "flag": "boolean"})]
    )
    async with admin_port(mesh) as port:
        page = json.loads((await ask(port, "GET", EVENTS)).body)

    [stored] = page["events"]
    assert set(stored) == {"position", "at", "to", "event"}
    assert stored["event"] == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/test",
        "type": "com.example.test",
        "datacontenttype": "application/json",
        "subject": "order 7",
        "n": -5,
        "flag": True,
        "digits": "5",
    }
    assert stored["at"].endswith("Z")
    assert began <= datetime.fromisoformat(stored["at"]) <= datetime.now(UTC)
    assert stored["to"] is None
    assert page["next"] is None


async def test_a_redrive_is_listed_with_the_trigger_that_it_is_for() -> None:
    mesh = await StandIn.start()
    await mesh.mesh_channel.append([event("1")], to="default/audit")
    async with admin_port(mesh) as port:
        page = json.loads((await ask(port, "GET", EVENTS)).body)

    assert [stored["to"] for stored in page["events"]] == ["default/audit"]


async def test_the_pages_of_the_events_follow_each_other_without_gap_or_overlap() -> None:
    mesh = await StandIn.start()
    await mesh.mesh_channel.append([event(str(number)) for number in range(5)])
    found: list[list[str]] = []
    query: str | None = "limit=2"
    async with admin_port(mesh) as port:
        while query is not None:
            answer = await ask(port, "GET", f"{EVENTS}?{query}")
            found.append(ids(answer))
            after = json.loads(answer.body)["next"]
            query = after and f"limit=2&after={after}"

    assert found == [["0", "1"], ["2", "3"], ["4"]]


async def test_without_a_limit_a_page_has_a_hundred_events() -> None:
    mesh = await StandIn.start()
    await mesh.mesh_channel.append([event(str(number)) for number in range(101)])
    async with admin_port(mesh) as port:
        answer = await ask(port, "GET", EVENTS)
        rest = await ask(port, "GET", f"{EVENTS}?after={json.loads(answer.body)['next']}")

    assert len(ids(answer)) == 100
    assert ids(rest) == ["100"]


async def test_the_events_can_be_those_since_a_time_and_those_of_an_id() -> None:
    mesh = await StandIn.start()
    await mesh.mesh_channel.append([event("1"), event("2"), event("1")])
    now = datetime.now(UTC)
    earlier = (now - timedelta(minutes=1)).astimezone(timezone(timedelta(hours=2))).isoformat()
    async with admin_port(mesh) as port:
        of_id = await ask(port, "GET", f"{EVENTS}?id=1")
        recent = await ask(port, "GET", f"{EVENTS}?since={quote(earlier)}")
        future = await ask(port, "GET", f"{EVENTS}?since={now.year + 1}-01-01T00:00:00Z")

    assert ids(of_id) == ["1", "1"]
    assert ids(recent) == ["1", "2", "1"]
    assert ids(future) == []


@pytest.mark.parametrize(
    "since",
    ["", "24h", "1764000000", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00:00+01:00"],
)
async def test_a_time_that_is_none_is_refused(since: str) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", f"{EVENTS}?since={since}")

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "'since' is '" in json.loads(answer.body)["detail"]
    assert "RFC 3339" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("limit", ["0", "1001", "ten", ""])
async def test_a_limit_of_no_page_is_refused(limit: str) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", f"{EVENTS}?limit={limit}")

    assert answer.status == 400
    assert "from 1 to 1000" in json.loads(answer.body)["detail"]


async def test_a_position_that_is_none_is_refused() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", f"{EVENTS}?after=nonsense")

    assert answer.status == 400
    assert json.loads(answer.body)["detail"].startswith("'after': 'nonsense' is not a position")


async def test_the_events_of_a_broker_that_is_not_there_are_not_found() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", "/api/v1/brokers/default/other/events")

    assert answer.status == 404
    assert "default/other" in json.loads(answer.body)["detail"]


async def test_the_events_are_unavailable_while_the_store_is_gone() -> None:
    mesh = await StandIn.start()
    mesh.backend.outage = "the disk is gone"
    async with admin_port(mesh) as port:
        answer = await ask(port, "GET", EVENTS)

    assert answer.status == 503
    assert json.loads(answer.body)["detail"] == "the disk is gone"
