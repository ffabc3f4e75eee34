"""Triggers over the admin API: what they filter on, and what they make of an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

import pytest

from broker.admin.models import TriggerDocument
from broker.cesql import parse
from broker.filters import (
    EVERYTHING,
    All,
    Any,
    Cesql,
    Exact,
    Filter,
    Legacy,
    Not,
    Prefix,
    Suffix,
)
from broker.ports import Books
from broker.status import TriggerStatus
from broker.trigger import Target, Trigger
from tests.unit.stand_in import BROKER, Answer, StandIn, admin_port, ask, event

TRIGGERS = f"/api/v1/brokers/{BROKER}/triggers"
EXPLAIN = f"/api/v1/brokers/{BROKER}/explain"

ORDER = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/shop",
    "ce-type": "order",
    "Content-Type": "application/json",
}


def trigger(name: str, filter: Filter = EVERYTHING, url: str = "http://127.0.0.1:9/") -> Trigger:
    return Trigger(key=f"default/{name}", broker=BROKER, subscriber=Target(url=url), filter=filter)


async def mesh_of(*triggers: Trigger) -> StandIn:
    mesh = await StandIn.start()
    mesh.running = triggers
    return mesh


async def asked(
    mesh: StandIn,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    async with admin_port(mesh) as port:
        return await ask(port, method, path, body, headers)


def verdicts(answer: Answer) -> dict[str, bool]:
    return {each["name"]: each["matches"] for each in json.loads(answer.body)["triggers"]}


def detail(answer: Answer) -> str:
    return str(json.loads(answer.body)["detail"])


# --- triggers ------------------------------------------------------------------------------


async def test_triggers_are_told_with_their_filters_as_in_a_manifest() -> None:
    exact = Exact((("type", "order"),))
    nested = All((Any((exact, Not(Suffix((("subject", ".b"),))))), Prefix((("id", "1"),))))
    mesh = await mesh_of(
        trigger("nested", All((nested, Cesql(parse("EXISTS  id"))))),
        trigger("old", Legacy((("source", ""), ("type", "order")))),
        trigger("everything"),
    )

    answer = await asked(mesh, "GET", TRIGGERS)

    nested_item = {
        "all": [
            {"any": [{"exact": {"type": "order"}}, {"not": {"suffix": {"subject": ".b"}}}]},
            {"prefix": {"id": "1"}},
        ]
    }
    at = {"subscriber": "http://127.0.0.1:9/", "deadLetterSink": None, "reply": None}
    assert json.loads(answer.body) == {
        "triggers": [
            {"name": "default/nested", **at, "filters": [nested_item, {"cesql": "EXISTS  id"}]},
            {
                "name": "default/old",
                **at,
                "filter": {"attributes": {"source": "", "type": "order"}},
            },
            {"name": "default/everything", **at, "filters": []},
        ]
    }


async def test_no_credential_of_a_subscriber_is_told() -> None:
    secret = trigger("audit", url="amqp://user:pa@ss@queue.example:5672/q?x=a@b")

    answer = await asked(await mesh_of(secret), "GET", TRIGGERS)

    (told,) = json.loads(answer.body)["triggers"]
    assert told["subscriber"] == "amqp://queue.example:5672/q?…"


def test_no_credential_of_a_subscriber_is_in_the_status() -> None:
    books = Books(matched=0, delivered=0, dead_lettered=0, waiting=0, oldest_waiting=None)
    url = "amqp://user:password@[::1]/q"

    told = TriggerDocument.of(
        TriggerStatus(key="a/b", broker=BROKER, subscriber=url, in_flight=0, books=books)
    )

    assert told.subscriber == "amqp://[::1]/q"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/brokers/default/other/triggers"),
        ("GET", "/api/v1/brokers/default/other/explain?id=1"),
        ("POST", "/api/v1/brokers/default/other/explain"),
    ],
)
async def test_of_a_broker_that_does_not_run_nothing_can_be_told(method: str, path: str) -> None:
    answer = await asked(await mesh_of(), method, path)

    assert answer.status == 404
    assert detail(answer) == "there is no broker default/other"


# --- an event that is posted ---------------------------------------------------------------


async def test_a_posted_event_is_explained_for_every_trigger() -> None:
    mesh = await mesh_of(
        trigger("audit", All((Exact((("type", "order"),)), Prefix((("source", "https://x/"),))))),
        trigger("mail", Legacy((("subject", ""),))),
        trigger("archive"),
    )

    answer = await asked(mesh, "POST", EXPLAIN, b'{"n": 1}', ORDER)

    assert answer.status == 200
    assert json.loads(answer.body) == {
        "broker": "default/default",
        "event": {
            "specversion": "1.0",
            "id": "1",
            "source": "/shop",
            "type": "order",
            "datacontenttype": "application/json",
        },
        "at": None,
        "to": None,
        "triggers": [
            {
                "name": "default/audit",
                "matches": False,
                "clauses": [
                    {
                        "path": "filters[1].prefix",
                        "attribute": "source",
                        "expected": "https://x/",
                        "actual": "/shop",
                        "text": 'filters[1].prefix source: "https://x/" ≠ "/shop"',
                    }
                ],
            },
            {
                "name": "default/mail",
                "matches": False,
                "clauses": [
                    {
                        "path": "filter.attributes",
                        "attribute": "subject",
                        "expected": "",
                        "actual": None,
                        "text": "filter.attributes subject: any value ≠ (absent)",
                    }
                ],
            },
            {"name": "default/archive", "matches": True, "clauses": []},
        ],
    }


async def test_a_structured_event_keeps_the_types_of_its_attributes() -> None:
    given = b'{"specversion":"1.0","id":"1","source":"/a","type":"b","n":5,"vip":true}'
    headers = {"Content-Type": "application/cloudevents+json"}
    mesh = await mesh_of(trigger("five", All((Exact((("n", "5"), ("vip", "true"))),))))

    answer = await asked(mesh, "POST", EXPLAIN, given, headers)

    assert json.loads(answer.body)["event"] == json.loads(given)
    assert verdicts(answer) == {"default/five": True}


async def test_explaining_stores_nothing() -> None:
    mesh = await mesh_of(trigger("archive"))

    await asked(mesh, "POST", EXPLAIN, b"{}", ORDER)

    assert await mesh.mesh_channel.accepted() == 0


async def test_what_a_broker_in_front_counts_hops_by_is_no_attribute_here_either() -> None:
    mesh = await mesh_of(trigger("looped", Legacy((("knativebrokerttl", ""),))))

    answer = await asked(mesh, "POST", EXPLAIN, b"{}", {**ORDER, "ce-knativebrokerttl": "7"})

    assert verdicts(answer) == {"default/looped": False}


STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
ONE = b'{"specversion":"1.0","id":"1","source":"/a","type":"b"}'


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({}, b"", 400, "the required attribute 'specversion' is missing"),
        ({**ORDER, "ce-source": " "}, b"", 400, "'source' is empty"),
        (STRUCTURED, b"{", 400, "the body is not valid JSON"),
        (BATCH, b"[" + ONE + b"," + ONE + b"]", 400, "there are 2 events in the batch"),
        (BATCH, b"[]", 400, "there are 0 events in the batch"),
        ({"Content-Type": "application/cloudevents+avro"}, b"", 415, "the event format"),
        ({**ORDER, "ce-knativebrokerttl": "0"}, b"", 400, "gone round as often"),
    ],
)
async def test_what_ingress_refuses_is_refused_in_its_words(
    headers: dict[str, str], body: bytes, status: int, words: str
) -> None:
    answer = await asked(await mesh_of(), "POST", EXPLAIN, body, headers)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in detail(answer)


async def test_a_refusal_names_the_attribute_at_fault() -> None:
    answer = await asked(await mesh_of(), "POST", EXPLAIN, b"", {**ORDER, "ce-time": "noon"})

    assert json.loads(answer.body)["attribute"] == "time"


async def test_an_event_that_is_too_large_is_refused() -> None:
    answer = await asked(await mesh_of(), "POST", EXPLAIN, b"x" * ((16 << 20) + 1), ORDER)

    assert answer.status == 413


# --- an event that is stored ---------------------------------------------------------------


async def test_a_stored_event_is_explained_by_its_id() -> None:
    mesh = await mesh_of(trigger("five", All((Exact((("type", "five"),)),))), trigger("all"))
    await mesh.mesh_channel.append([event("4"), event("5", type="five"), event("6")])

    answer = await asked(mesh, "GET", f"{EXPLAIN}?id=5")

    told = json.loads(answer.body)
    assert verdicts(answer) == {"default/five": True, "default/all": True}
    assert told["event"]["type"] == "five"
    assert "data" not in told["event"]
    assert told["at"].endswith("Z")
    assert told["to"] is None


async def test_of_several_events_with_an_id_the_newest_is_explained() -> None:
    mesh = await mesh_of()
    await mesh.mesh_channel.append([event("5", type="first"), event("5", type="second")])

    answer = await asked(mesh, "GET", f"{EXPLAIN}?id=5")

    assert json.loads(answer.body)["event"]["type"] == "second"


async def test_the_newest_is_found_behind_many_others() -> None:
    mesh = await mesh_of()
    await mesh.mesh_channel.append([event("5")] * 1000)
    await mesh.mesh_channel.append([event("5", type="newest"), event("6")])
    await mesh.mesh_channel.append([event("6", source="/other")] * 1000)

    answer = await asked(mesh, "GET", f"{EXPLAIN}?id=5")
    refused = await asked(mesh, "GET", f"{EXPLAIN}?id=6")

    assert json.loads(answer.body)["event"]["type"] == "newest"
    assert "2 sources have sent" in detail(refused)


async def test_an_id_that_several_sources_have_used_needs_the_source() -> None:
    mesh = await mesh_of()
    await mesh.mesh_channel.append([event("5", source="/b"), event("5", source="/a?x=1&y")])

    refused = await asked(mesh, "GET", f"{EXPLAIN}?id=5")
    answer = await asked(mesh, "GET", f"{EXPLAIN}?id=5&source={quote('/a?x=1&y', safe='')}")

    assert refused.status == 400
    assert detail(refused) == (
        "2 sources have sent an event with the id '5': '/b', '/a?x=1&y'; name the source as well"
    )
    assert json.loads(answer.body)["event"]["source"] == "/a?x=1&y"


async def test_a_refusal_names_a_few_of_many_sources() -> None:
    mesh = await mesh_of()
    await mesh.mesh_channel.append([event("5", source=f"/{number}") for number in range(11)])

    refused = await asked(mesh, "GET", f"{EXPLAIN}?id=5")

    assert "11 sources" in detail(refused)
    assert "'/9', …; name" in detail(refused)


async def test_a_redriven_event_is_told_to_have_gone_to_its_trigger_alone() -> None:
    mesh = await mesh_of(trigger("audit", All((Exact((("type", "other"),)),))))
    async with mesh.mesh_channel.subscribe("default/audit", filter=EVERYTHING, window=1):
        await mesh.mesh_channel.append([event("5")], to="default/audit")

    answer = await asked(mesh, "GET", f"{EXPLAIN}?id=5")

    assert json.loads(answer.body)["to"] == "default/audit"
    assert verdicts(answer) == {"default/audit": False}


@pytest.mark.parametrize(
    ("query", "of"), [("id=6", "the id '6'"), ("id=5&source=/x", "the id '5' and the source '/x'")]
)
async def test_an_event_that_is_not_kept_is_not_found(query: str, of: str) -> None:
    mesh = await mesh_of()
    await mesh.mesh_channel.append([event("5")])

    answer = await asked(mesh, "GET", f"{EXPLAIN}?{query}")

    assert answer.status == 404
    assert detail(answer).startswith(f"no event with {of} is kept: ")


@pytest.mark.parametrize("query", ["", "?id=", "?source=/test"])
async def test_a_stored_event_must_be_named_by_its_id(query: str) -> None:
    answer = await asked(await mesh_of(), "GET", f"{EXPLAIN}{query}")

    assert answer.status == 400
    assert "'id' is missing" in detail(answer)


async def test_where_the_channel_is_out_a_stored_event_cannot_be_explained() -> None:
    mesh = await mesh_of()
    mesh.backend.outage = "the disk is gone"

    answer = await asked(mesh, "GET", f"{EXPLAIN}?id=5")

    assert answer.status == 503
    assert detail(answer) == "the disk is gone"


async def test_any_other_method_is_told_which_there_are() -> None:
    answer = await asked(await mesh_of(), "DELETE", EXPLAIN)

    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
