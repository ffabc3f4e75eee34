"""Parked events over the admin API and by the command line: listed, retried, skipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from broker.status import Order, Parked
from broker.trigger import Target, Trigger
from tests.unit.stand_in import BROKER, StandIn, admin_port, ask, cemesh, event, refusal

AUDIT = "default/audit"
PATH = f"/api/v1/triggers/{AUDIT}/parked"


def waiting(id: str, source: str = "/shop") -> Parked:
    since = datetime.now(UTC) - timedelta(hours=3)
    return Parked(id=id, source=source, key="customer-42", since=since, why=refusal())


async def standing_in(*parked: Parked) -> StandIn:
    mesh = await StandIn.start()
    mesh.running = [Trigger(key=AUDIT, broker=BROKER, subscriber=Target(url="http://a.test/"))]
    mesh.waits = parked
    return mesh


async def test_what_a_trigger_has_parked_is_listed_with_why() -> None:
    parked = waiting("1")
    async with admin_port(await standing_in(parked)) as port:
        answer = await ask(port, "GET", PATH)

    assert answer.status == 200
    told = json.loads(answer.body)
    [listed] = told["parked"]
    assert told["trigger"] == AUDIT
    assert datetime.fromisoformat(listed.pop("since")) == parked.since
    assert listed == {
        "id": "1",
        "source": "/shop",
        "key": "customer-42",
        "why": {
            "destination": "http://127.0.0.1:9/",
            "reason": "answered 500",
            "status": 500,
            "attempts": 3,
        },
    }


@pytest.mark.parametrize("verb", ["retry", "skip"])
@pytest.mark.parametrize(
    ("which", "meant"),
    [
        ({"id": "2"}, ["2"]),
        ({"id": "1", "source": "/desk"}, ["1"]),
        ({"all": True}, ["1", "1", "2"]),
    ],
)
async def test_a_parked_event_is_ordered_by_id_or_all_at_once(
    verb: str, which: Mapping[str, object], meant: list[str]
) -> None:
    mesh = await standing_in(waiting("1"), waiting("1", "/desk"), waiting("2"))
    async with admin_port(mesh) as port:
        body = json.dumps({**which, "why": "a test order"}).encode()
        answer = await ask(port, "POST", f"{PATH}/{verb}", body)

    [(order, ordered)] = mesh.orders
    assert answer.status == 202
    assert [each["id"] for each in json.loads(answer.body)["parked"]] == meant
    assert [each.id for each in ordered] == meant
    assert (order.verb, order.why) == (verb, "a test order")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Input data was truncated"),
        (b'{"id": "1"}', "missing required field `why`"),
        (b'{"id": "1", "why": " "}', "'why' must have 1 to 1000 characters"),
        (b'{"why": "x"}', "either an 'id', with its 'source' or not, or 'all' (true)"),
        (b'{"why": "x", "id": "1", "all": true}', "either an 'id'"),
        (b'{"why": "x", "source": "/shop"}', "either an 'id'"),
        (b'{"why": "x", "source": "/shop", "all": true}', "either an 'id'"),
        (b'{"why": "x", "ids": ["1"]}', "unknown field `ids`"),
    ],
)
async def test_a_request_that_does_not_say_which_and_why_is_refused(
    body: bytes, detail: str
) -> None:
    mesh = await standing_in(waiting("1"))
    async with admin_port(mesh) as port:
        answer = await ask(port, "POST", f"{PATH}/skip", body)

    assert answer.status == 400
    assert detail in json.loads(answer.body)["detail"]
    assert mesh.orders == []


async def test_an_event_or_a_trigger_that_is_not_there_is_not_found() -> None:
    body = b'{"id": "7", "why": "x"}'
    async with admin_port(await standing_in(waiting("1"))) as port:
        answers = [
            await ask(port, "POST", f"{PATH}/retry", body),
            await ask(port, "POST", "/api/v1/triggers/default/other/parked/retry", body),
            await ask(port, "GET", "/api/v1/triggers/default/other/parked"),
        ]

    assert [each.status for each in answers] == [404] * 3
    assert "no event 7 is parked here" in json.loads(answers[0].body)["detail"]
    for each in answers[1:]:
        assert "the mesh has no trigger default/other" in json.loads(each.body)["detail"]


# --- the command line ----------------------------------------------------------------------


async def test_the_command_lists_what_is_parked() -> None:
    async with admin_port(await standing_in(waiting("1"))) as port:
        listed = await cemesh("parked", "list", AUDIT, "--admin-port", str(port))
        document = await cemesh(
            "parked", "list", AUDIT, "--output", "json", "--admin-port", str(port)
        )

    head, row = listed.out.splitlines()
    assert head.split("  ")[0] == "EVENT ID"
    assert row.split() == ["1", "/shop", "customer-42", "3h", "3", "answered", "500"]
    assert json.loads(document.out)["parked"][0]["id"] == "1"


async def test_the_command_says_that_nothing_is_parked() -> None:
    async with admin_port(await standing_in()) as port:
        listed = await cemesh("parked", "list", AUDIT, "--admin-port", str(port))
        retried = await cemesh("parked", "retry", AUDIT, "--all", "--admin-port", str(port))

    assert (listed.code, listed.out) == (0, "Nothing is parked.\n")
    assert (retried.code, retried.out) == (0, "Nothing is parked.\n")


async def test_the_commands_retry_and_skip() -> None:
    parked = waiting("1")
    mesh = await standing_in(parked, waiting("1", "/desk"))
    async with admin_port(mesh) as port:
        at = ("--source", "/shop", "--admin-port", str(port))
        retried = await cemesh("parked", "retry", AUDIT, "1", *at)
        skipped = await cemesh("parked", "skip", AUDIT, "1", "--why", "a test order", *at)

    assert (retried.code, retried.out) == (0, "1 of /shop is retried within seconds\n")
    assert (skipped.code, skipped.out) == (0, "1 of /shop is skipped within seconds\n")
    assert mesh.orders == [
        (Order(verb="retry", why="an operator asked"), [parked]),
        (Order(verb="skip", why="a test order"), [parked]),
    ]


async def test_the_commands_say_what_they_cannot_do() -> None:
    mesh = await standing_in(waiting("1"))
    async with admin_port(mesh) as port:
        at = ("--admin-port", str(port))
        unknown = await cemesh("parked", "skip", AUDIT, "7", *at)
        none = await cemesh("parked", "skip", AUDIT, *at)
        both = await cemesh("parked", "skip", AUDIT, "1", "--all", *at)

    assert (unknown.code, none.code, both.code) == (1, 2, 2)
    assert "no event 7 is parked here" in unknown.err
    assert "name an ID" in none.err
    assert "name an ID" in both.err
    assert mesh.orders == []


async def test_status_counts_what_is_parked_where_anything_is() -> None:
    mesh = await standing_in(waiting("1"), waiting("2"))
    await mesh.bury(event())  # which makes the channel know the trigger
    async with (
        admin_port(mesh) as port,
        mesh.mesh_channel.subscribe(AUDIT, filter=mesh.running[0].filter, window=1),
    ):
        some = await cemesh("status", "--admin-port", str(port))
        document = await ask(port, "GET", "/api/v1/status")
        mesh.waits = ()
        none = await cemesh("status", "--admin-port", str(port))

    assert json.loads(document.body)["brokers"][0]["triggers"][0]["parked"] == 2
    head, row = some.out.splitlines()[1:3]
    assert "PARKED" in head
    assert row.split()[-2] == "2"
    assert "PARKED" not in none.out
