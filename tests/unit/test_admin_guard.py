"""What the admin port refuses because a web page may be behind it."""

from __future__ import annotations

import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from broker.admin.guard import Guard
from tests.unit.stand_in import StandIn, admin_port, ask


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "LOCALHOST", "[::1]:80"])
async def test_a_name_of_loopback_is_answered(host: str) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", "/healthz", headers={"Host": host.format(port=port)})

    assert answer.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8081", "localhost.evil.example", "", "0.0.0.0"]
)
async def test_another_name_that_leads_to_loopback_is_refused(host: str) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", "/api/v1/status", headers={"Host": host})

    assert answer.status == 403
    assert json.loads(answer.body)["status"] == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://{host}"]
)
async def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    mesh = await StandIn.start()
    async with admin_port(mesh) as port:
        path = "/api/v1/brokers/default/default/deadletters/redrive"
        headers = {"Origin": origin.format(host=f"127.0.0.1:{port}")}
        answer = await ask(port, "POST", path, b'{"all": true}', headers)

    assert answer.status == 403
    assert mesh.redriven_batches == []


async def test_a_page_of_the_admin_port_itself_is_answered() -> None:
    async with admin_port(await StandIn.start()) as port:
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        answer = await ask(port, "GET", "/api/v1/status", headers=headers)

    assert answer.status == 200


async def test_on_an_address_of_the_network_any_name_is_answered() -> None:
    assert await _through_the_guard(server="10.0.0.7", host=b"cemesh.example") == 204


async def test_on_all_addresses_loopback_is_guarded_all_the_same() -> None:
    assert await _through_the_guard(server="127.0.0.1", host=b"cemesh.example") == 403
    assert await _through_the_guard(server="::1", host=b"cemesh.example") == 403
    assert await _through_the_guard(server="::ffff:127.0.0.1", host=b"cemesh.example") == 403


async def _through_the_guard(*, server: str, host: bytes) -> int:
    """Return the status that a request to that address under that name gets."""
    sent: list[Message] = []

    async def application(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "server": (server, 8081),
        "headers": [(b"host", host)],
    }
    await Guard(application)(scope, receive, send)
    status: int = sent[0]["status"]
    return status
