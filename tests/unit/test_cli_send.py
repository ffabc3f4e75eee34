"""``cemesh send`` as a process, against a data port that notes what it gets."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from broker.codecs.http import decode
from broker.event import Event
from tests.unit.stand_in import Ran, cemesh, served


@dataclass
class DataPort:
    """Takes events like a broker, but answers ``refuse_with`` from ``refuse_from`` on."""

    port: int = 0
    requests: list[tuple[str, str | None, list[Event]]] = field(default_factory=list)
    refuse_from: int | None = None
    refusal: Response = field(
        default_factory=lambda: JSONResponse(
            {"title": "Bad Request", "status": 400, "detail": "the moon is full"}, 400
        )
    )

    @property
    def events(self) -> list[Event]:
        return [event for _, _, events in self.requests for event in events]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        events = decode(request.headers.raw, await request.body())
        response = Response(status_code=202)
        if self.refuse_from is not None and len(self.requests) >= self.refuse_from:
            response = self.refusal
        self.requests.append((request.url.path, request.headers.get("content-type"), events))
        await response(scope, receive, send)


@asynccontextmanager
async def data_port(**refuse: object) -> AsyncIterator[DataPort]:
    noted = DataPort(**refuse)  # type: ignore[arg-type]  # checked by the dataclass's own callers
    async with served(noted) as (port, _):
        noted.port = port
        yield noted


async def send(to: DataPort, *options: str, stdin: bytes = b"") -> Ran:
    return await cemesh(
        "send", "--port", str(to.port), "--type", "com.example.test", *options, stdin=stdin
    )


async def test_an_event_goes_to_the_default_broker_and_its_id_is_told() -> None:
    async with data_port() as port:
        ran = await send(port)

    ((path, content_type, (event,)),) = port.requests
    assert (ran.code, ran.out, ran.err) == (0, f"accepted {event.id}\n", "")
    assert (path, content_type) == ("/default/default", None)
    assert UUID(event.id)
    assert event.attributes.keys() == {"specversion", "id", "source", "type"}
    assert event.data is None


async def test_every_attribute_can_be_given() -> None:
    async with data_port() as port:
        options = ("--id", "é 1", "--source", "/shop", "--subject", "order 7")
        more = ("-e", "priority=high", "-e", "time=2026-01-31T12:00:00Z", "-e", "formula=a=b")
        ran = await send(port, *options, *more, "--data", "x", "--content-type", "text/x")

    (event,) = port.events
    assert ran.code == 0
    assert event.attributes == {
        "specversion": "1.0",
        "id": "é 1",
        "source": "/shop",
        "type": "com.example.test",
        "subject": "order 7",
        "priority": "high",
        "time": "2026-01-31T12:00:00Z",
        "formula": "a=b",
        "datacontenttype": "text/x",
    }
    assert event.data == b"x"


async def test_a_broker_is_named_by_key_or_by_url() -> None:
    async with data_port() as port:
        await send(port, "shop/orders")
        await send(port, f"http://127.0.0.1:{port.port}/shop/returns")

    assert [path for path, _, _ in port.requests] == ["/shop/orders", "/shop/returns"]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'{"a": 1e400}', "application/json"),
        (b"null", "application/json"),
        (b"hello", "text/plain"),
        (b"", "text/plain"),
        (b"\xff", "application/octet-stream"),
    ],
)
async def test_a_payload_without_a_media_type_gets_the_one_that_it_has(
    data: bytes, content_type: str
) -> None:
    async with data_port() as port:
        await send(port, "--file", "-", stdin=data)

    (event,) = port.events
    assert event.attributes["datacontenttype"] == content_type
    assert (event.data or b"") == data


async def test_a_payload_comes_from_a_file_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_bytes(b'{"n":  1,\r\n"n": 2}\n')
    async with data_port() as port:
        await send(port, "--file", str(file))

    (event,) = port.events
    assert event.data == b'{"n":  1,\r\n"n": 2}\n'


async def test_the_structured_mode_is_one_document_an_event() -> None:
    async with data_port() as port:
        await send(port, "--mode", "structured", "--data", "[1]", "--count", "2")

    assert [content_type for _, content_type, _ in port.requests] == [
        "application/cloudevents+json",
        "application/cloudevents+json",
    ]
    assert {event.data for event in port.events} == {b"[1]"}


async def test_the_batch_mode_sends_as_many_at_once_as_asked_for() -> None:
    async with data_port() as port:
        ran = await send(port, "--mode", "batch", "--count", "25", "--batch-size", "10")

    assert sorted(len(events) for _, _, events in port.requests) == [5, 10, 10]
    assert len({event.id for event in port.events}) == 25
    assert ran.out.startswith("accepted 25 events in ")


async def test_many_events_with_an_id_are_numbered() -> None:
    async with data_port() as port:
        ran = await send(port, "--id", "x", "--count", "3", "--output", "json", "--rate", "1000")

    document = json.loads(ran.out)
    assert document["accepted"] == 3
    assert sorted(document["ids"]) == ["x-1", "x-2", "x-3"]
    assert sorted(event.id for event in port.events) == ["x-1", "x-2", "x-3"]


async def test_a_refusal_is_told_with_its_reason() -> None:
    async with data_port(refuse_from=0) as port:
        ran = await send(port)

    assert ran.code == 1
    assert ran.out == ""
    assert ran.err == (
        f"Error: http://127.0.0.1:{port.port}/default/default answered 400: the moon is full\n"
    )


async def test_a_refusal_without_a_reason_is_told_by_its_status() -> None:
    async with data_port(refuse_from=0, refusal=Response("<html>", 502)) as port:
        ran = await send(port)

    assert ran.code == 1
    assert ran.err.endswith("answered 502\n")


async def test_nothing_is_sent_after_a_refusal_and_what_was_accepted_is_told() -> None:
    async with data_port(refuse_from=5) as port:
        ran = await send(port, "--count", "1000", "--concurrency", "1", "--output", "json")

    assert ran.code == 1
    assert len(port.requests) == 6
    assert json.loads(ran.out)["ids"] == [event.id for event in port.events[:5]]


async def test_silence_is_told_as_such() -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        ran = await send(DataPort(port=bound.getsockname()[1]))

    assert ran.code == 3
    assert "is `cemesh run` running?" in ran.err
    assert "connection refused" in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--type", ""], "'type' is empty"),
        (["--source", "a b"], "'source' is not a URI-reference"),
        (["-e", "Priority=high"], "'Priority' is not an attribute name"),
        (["-e", "priority"], "not of the form NAME=VALUE"),
        (["-e", "a=1", "-e", "a=2"], "'a' is given twice"),
        (["-e", "id=1"], "'id' is not given by --extension"),
        (["--data", "x", "--file", "-"], "--data and --file exclude each other"),
        (["--content-type", "xyz"], "'datacontenttype' is not a media type"),
        (["default"], "'default' is neither NAMESPACE/BROKER nor a URL"),
        (["a/b/c"], "'a/b/c' is neither NAMESPACE/BROKER nor a URL"),
        (["--count", "0"], "--count"),
        (["--rate", "0"], "--rate"),
    ],
)
async def test_what_cannot_be_an_event_is_wrong_usage_and_not_sent(
    options: list[str], said: str
) -> None:
    async with data_port() as port:
        ran = await send(port, *options)

    assert ran.code == 2
    assert said in ran.err
    assert port.requests == []
