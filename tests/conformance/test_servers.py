"""The HTTP client against servers that others wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sinks.http import HttpClient
from tests.services.locks import locked
from tests.services.mesh import free_port
from tests.services.missing import Missing
from tests.services.run import folder_of_the_run, owner
from tests.subscribers.servers import KINDS, RealServer, find

pytestmark = pytest.mark.timeout(300)  # the first test of a server may install it

SOON = timedelta(seconds=30)
LARGE = bytes(8 << 20)


@pytest.fixture(params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    kind = KINDS[request.param]
    run = folder_of_the_run(tmp_path_factory, request.config)
    with locked(run / "servers.lock"):
        program = find(kind, run)
    if isinstance(program, Missing):
        pytest.skip(program.reason)
    with RealServer(kind, program, tmp_path, free_port(), owner=owner(request.config)) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as entered:
        yield entered


async def post(client: HttpClient, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    headers = [(b"Content-Type", b"application/json")]
    response = await client.request("POST", url, headers, body, timeout=SOON)
    return response.status, response.body


async def test_one_connection_carries_one_request_after_the_other(
    server: RealServer, client: HttpClient
) -> None:
    answers = [await post(client, f"{server.url}/", body) for body in (b"", b"{}", b" " * 1024)]

    assert {status for status, _ in answers} == {200}
    assert len({port for _, port in answers}) == 1


async def test_a_large_body_is_answered(server: RealServer, client: HttpClient) -> None:
    for body in (LARGE, b"{}", LARGE):
        assert (await post(client, f"{server.url}/", body))[0] == 200


async def test_a_refusal_before_the_body_is_read_is_understood(
    server: RealServer, client: HttpClient
) -> None:
    statuses = [(await post(client, f"{server.url}/refused", LARGE))[0] for _ in range(3)]
    after, _ = await post(client, f"{server.url}/")

    assert (statuses, after) == ([413] * 3, 200)


async def test_a_server_that_was_restarted_gets_a_fresh_connection(
    server: RealServer, client: HttpClient
) -> None:
    await post(client, f"{server.url}/")

    await asyncio.to_thread(server.restart)

    assert (await post(client, f"{server.url}/"))[0] == 200


async def test_many_requests_at_once_are_all_answered(
    server: RealServer, client: HttpClient
) -> None:
    answers = await asyncio.gather(*(post(client, f"{server.url}/") for _ in range(50)))

    assert {status for status, _ in answers} == {200}
