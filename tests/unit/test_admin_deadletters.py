"""Dead letters over the admin API: list, show, redrive."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from broker.errors import ChannelUnavailable
from broker.filters import EVERYTHING
from broker.status import Redriven
from tests.unit.stand_in import BROKER, Answer, StandIn, admin_port, ask, event, refusal

LETTERS = f"/api/v1/brokers/{BROKER}/deadletters"


def ids(answer: Answer) -> list[str]:
    return [letter["id"] for letter in json.loads(answer.body)["deadLetters"]]


async def redrive(port: int, wanted: object) -> Answer:
    return await ask(port, "POST", f"{LETTERS}/redrive", json.dumps(wanted).encode())


async def test_a_dead_letter_is_listed_with_its_event_and_its_refusal() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("e1", subject="order 7"))
    async with admin_port(mesh) as port:
        page = json.loads((await ask(port, "GET", LETTERS)).body)

    (letter,) = page["deadLetters"]
    assert letter["trigger"] == "default/audit"
    assert letter["event"] == {
        "id": "e1",
        "source": "/test",
        "type": "com.example.test",
        "subject": "order 7",
    }
    assert letter["why"] == {
        "destination": "http://127.0.0.1:9/",
        "reason": "answered 500",
        "status": 500,
        "attempts": 3,
    }
    assert letter["buriedAt"].endswith("Z")
    assert page["next"] is None


async def test_pages_follow_each_other_without_gap_or_overlap() -> None:
    mesh = await StandIn.start()
    await mesh.bury(*(event(str(number)) for number in range(5)))
    found: list[str] = []
    async with admin_port(mesh) as port:
        after: str | None = ""
        while after is not None:
            answer = await ask(port, "GET", f"{LETTERS}?limit=2&after={after}")
            found += [each["event"]["id"] for each in json.loads(answer.body)["deadLetters"]]
            after = json.loads(answer.body)["next"]

    assert found == ["0", "1", "2", "3", "4"]


async def test_a_list_can_be_of_one_trigger() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), trigger="default/audit")
    await mesh.bury(event("2"), trigger="default/mail")
    async with admin_port(mesh) as port:
        page = json.loads((await ask(port, "GET", f"{LETTERS}?trigger=default/mail")).body)

    assert [each["event"]["id"] for each in page["deadLetters"]] == ["2"]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "", "1e2", "²"])
async def test_a_limit_that_is_no_such_number_is_refused(limit: str) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", f"{LETTERS}?limit={limit.replace('²', '%C2%B2')}")

    assert answer.status == 400
    assert "from 1 to 1000" in json.loads(answer.body)["detail"]


async def test_a_dead_letter_is_shown_with_the_whole_event_and_answer() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("e1", b'{"n":  1e400}'), body=b"out of \xe2\x82\xac")
    async with admin_port(mesh) as port:
        (letter,) = ids(await ask(port, "GET", LETTERS))
        answer = await ask(port, "GET", f"{LETTERS}/{letter}")

    shown = json.loads(answer.body)
    assert shown["id"] == letter
    assert b'"data":{"n":  1e400}' in answer.body
    assert shown["event"]["id"] == "e1"
    assert base64.b64decode(shown["why"]["body"]) == b"out of \xe2\x82\xac"
    assert shown["why"]["bodyText"] == "out of €"


async def test_a_payload_is_told_byte_for_byte_and_never_as_a_page() -> None:
    mesh, data = await StandIn.start(), b"<script>\r\n\xff</script>"
    await mesh.bury(event("1", data, datacontenttype="text/html"), event("2", None))
    async with admin_port(mesh) as port:
        one, two = ids(await ask(port, "GET", LETTERS))
        answer = await ask(port, "GET", f"{LETTERS}/{one}/payload")
        without = await ask(port, "GET", f"{LETTERS}/{two}/payload")
        none = await ask(port, "GET", f"{LETTERS}/17/payload")

    assert (answer.body, without.body, none.status) == (data, b"", 404)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_an_answer_that_is_not_text_is_shown_as_base64_only() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event(), body=b"\xff\x00")
    async with admin_port(mesh) as port:
        (letter,) = ids(await ask(port, "GET", LETTERS))
        shown = json.loads((await ask(port, "GET", f"{LETTERS}/{letter}")).body)

    assert base64.b64decode(shown["why"]["body"]) == b"\xff\x00"
    assert shown["why"]["bodyText"] is None


async def test_dead_letters_are_counted_by_trigger_and_cause() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), event("2"))
    await mesh.bury(event("3"), trigger="default/mail")
    await mesh.mesh_channel.bury(event("4"), replace(refusal(), reason="no JSON", status=None))
    async with admin_port(mesh) as port:
        told = json.loads((await ask(port, "GET", f"{LETTERS}/causes")).body)

    assert told["count"] == 4
    assert [(each["trigger"], each["reason"], each["status"]) for each in told["causes"]] == [
        ("default/audit", "answered 500", 500),
        ("", "no JSON", None),
        ("default/mail", "answered 500", 500),
    ]
    assert [each["count"] for each in told["causes"]] == [2, 1, 1]
    assert all(each["first"] <= each["last"] for each in told["causes"])


async def test_a_list_can_be_of_one_cause_page_by_page() -> None:
    mesh = await StandIn.start()
    none = replace(refusal(), reason="no JSON", status=None)
    for number in range(5):
        why = none if number % 2 else refusal()
        await mesh.mesh_channel.bury(event(str(number)), why)
    found: list[str] = []
    async with admin_port(mesh) as port:
        after: str | None = ""
        while after is not None:
            asked = f"reason=no%20JSON&status=none&limit=2&after={after}"
            page = json.loads((await ask(port, "GET", f"{LETTERS}?{asked}")).body)
            found += [each["event"]["id"] for each in page["deadLetters"]]
            after = page["next"]
        answered = json.loads((await ask(port, "GET", f"{LETTERS}?status=500")).body)

    assert found == ["1", "3"]
    assert [each["event"]["id"] for each in answered["deadLetters"]] == ["0", "2", "4"]


async def test_a_dead_letter_that_is_not_there_is_not_found() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", f"{LETTERS}/17")

    assert answer.status == 404
    assert json.loads(answer.body)["detail"] == "there is no dead letter '17'"


async def test_dead_letters_are_redriven_by_id() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), event("2"))
    async with (
        mesh.mesh_channel.subscribe("default/audit", filter=EVERYTHING, window=10) as cursor,
        admin_port(mesh) as port,
    ):
        first, second = ids(await ask(port, "GET", LETTERS))
        answer = await redrive(port, {"ids": [second, "17", second]})
        left = ids(await ask(port, "GET", LETTERS))
        claim = await anext(cursor.claims())

    assert json.loads(answer.body) == {
        "redriven": [second],
        "kept": {"17": "there is no such dead letter"},
    }
    assert left == [first]
    assert claim.event.id == "2"


async def test_dead_letters_are_redriven_by_trigger() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event("1"), trigger="default/audit")
    await mesh.bury(event("2"), trigger="default/mail")
    async with admin_port(mesh) as port:
        answer = await redrive(port, {"trigger": "default/mail"})
        left = json.loads((await ask(port, "GET", LETTERS)).body)["deadLetters"]

    assert len(json.loads(answer.body)["redriven"]) == 1
    assert [each["event"]["id"] for each in left] == ["1"]


async def test_all_dead_letters_are_redriven_each_of_them_once() -> None:
    mesh = await StandIn.start()
    await mesh.bury(*(event(str(number)) for number in range(250)))
    async with admin_port(mesh) as port:
        before = [letter.id for letter in await mesh.mesh_channel.dead_letters.list(limit=1000)]
        answer = await redrive(port, {"all": True})

    assert json.loads(answer.body) == {"redriven": before, "kept": {}}
    assert [len(batch) for batch in mesh.redriven_batches] == [100, 100, 50]


class FailingAgain(StandIn):
    """Its triggers give up at once whatever is redriven."""

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        result = await StandIn.redrive(self, broker, ids)
        await self.bury(*(event(f"again-{each}") for each in result.redriven))
        return result


async def test_what_fails_again_at_once_is_not_redriven_for_ever() -> None:
    mesh = await FailingAgain.start()
    await mesh.bury(*(event(str(number)) for number in range(150)))
    async with admin_port(mesh) as port:
        answer = await redrive(port, {"all": True})

    assert len(json.loads(answer.body)["redriven"]) == 150


class FailingLater(StandIn):
    """Its channel is gone after the first batch."""

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        if self.redriven_batches:
            raise ChannelUnavailable("the disk is full")
        return await StandIn.redrive(self, broker, ids)


async def test_a_redrive_that_stops_half_way_says_what_was_done() -> None:
    mesh = await FailingLater.start()
    await mesh.bury(*(event(str(number)) for number in range(150)))
    async with admin_port(mesh) as port:
        answer = await redrive(port, {"all": True})

    result = json.loads(answer.body)
    assert answer.status == 200
    assert len(result["redriven"]) == 100
    assert set(result["kept"].values()) == {"the disk is full"}
    assert len(result["kept"]) == 50


async def test_a_redrive_that_cannot_start_is_refused_as_a_whole() -> None:
    mesh = await StandIn.start()
    await mesh.bury(event())
    mesh.backend.outage = "the disk is gone"
    async with admin_port(mesh) as port:
        answer = await redrive(port, {"all": True})

    assert answer.status == 503
    assert json.loads(answer.body)["detail"] == "the disk is gone"


@pytest.mark.parametrize(
    "wanted",
    [{}, {"all": False}, {"ids": ["1"], "all": True}, {"ids": [1]}, {"id": "1"}, [], "all", None],
)
async def test_a_redrive_must_name_its_dead_letters_in_one_way(wanted: object) -> None:
    mesh = await StandIn.start()
    await mesh.bury(event())
    async with admin_port(mesh) as port:
        answer = await redrive(port, wanted)

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert mesh.redriven_batches == []


async def test_a_redrive_that_is_not_json_is_refused() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "POST", f"{LETTERS}/redrive", b'{"all": tru')

    assert answer.status == 400


async def test_a_redrive_of_more_than_fits_is_refused() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await redrive(port, {"ids": ["x" * (1 << 20)]})

    assert answer.status == 413
