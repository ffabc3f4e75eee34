"""At debug, with secrets and payloads wherever one can stand, the logs have none of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.admin.models import StatusDocument
from tests.e2e.secretive import (
    EVENTING,
    PAYLOAD,
    QUERY,
    SECRETS,
    document,
    hidden,
    kafka_broker,
    secretive,
)
from tests.services.mesh import HOST, Response, RunningMesh
from tests.services.subscribers import Subscriber

BROKER = "/default/default"
GUARDED = "/default/guarded"
WEBHOOK = "/webhooksources/default/secretive"

ENVIRONMENT = {
    "CEMESH_PROXY": f"http://user:{SECRETS['proxy']}@{HOST}:1",
    "CEMESH_NO_PROXY": HOST,
    "CEMESH_ALLOW_DESTINATION": "127.0.0.0/8",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{SECRETS['collector']}@{HOST}:1",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRETS['collector']}",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
}


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """Listen on a free port, and send back whatever comes first: faults may tell what was read."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(65_536))
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def binary(type: str, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    told = {"specversion": "1.0", "id": f"of-{type}", "source": "/tests", "type": type}
    named = {f"ce-{name}": value for name, value in told.items()}
    return {**named, "Content-Type": "application/json", **(headers or {})}


async def post(mesh: RunningMesh, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
    return await mesh.request("POST", f"{path}{QUERY}", headers=headers, body=body)


async def refusals(mesh: RunningMesh) -> None:
    """Send what the mesh refuses, and who may send."""
    told = PAYLOAD.encode()
    structured = {"Content-Type": "application/cloudevents+json"}
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    wrong = base64.b64encode(f"user:{SECRETS['wrong']}".encode()).decode()
    forged = {"X-Hub-Signature-256": f"sha256={SECRETS['forged']}", "X-GitHub-Event": "ping"}
    for path, body, headers, status in (
        (BROKER, b'{"specversion": "1.0", "data": {"a": %s}}' % told, structured, 400),
        (BROKER, b'{"specversion": "1.0", "data": "%s"}' % told, structured, 400),
        (BROKER, b'[{"data": "%s"}]' % told, batch, 400),
        (BROKER, told, {"Content-Type": "text/plain"}, 400),
        (BROKER, told, {"Content-Type": "application/cloudevents+avro"}, 415),
        (GUARDED, told, binary("x"), 401),
        (GUARDED, told, binary("x", {"Authorization": f"Bearer {SECRETS['wrong']}"}), 401),
        (GUARDED, told, binary("x", {"Authorization": f"Basic {wrong}"}), 401),
        (GUARDED, told, binary("x", {"Authorization": f"Bearer {SECRETS['access']}"}), 202),
        (WEBHOOK, b'{"zen": "%s"}' % told, forged, 401),
    ):
        answer = await post(mesh, path, body, headers)
        assert answer.status == status, (path, headers, answer)


def is_done(status: StatusDocument, output: str) -> bool:
    """Return whether all events have come to an end, and each source has come to grief.

    The event that a token has to be got for waits until there is one.
    """
    ended = (each for each in status.brokers[0].triggers if each.name != "default/oauth")
    return all(each.delivered + each.dead_lettered for each in ended) and all(
        f"{each.kind} default/secretive" in output for each in status.sources
    )


@pytest.mark.parametrize("format", ["text", "json"])
async def test_no_log_has_a_secret_or_a_payload(format: str, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    arguments = ("--log-level", "debug", "--log-format", format, "--audit-log", str(audit))
    body = json.dumps({"text": PAYLOAD}).encode()
    async with Subscriber() as subscriber, echoing() as echo:
        text = secretive(subscriber, echo)
        mesh = RunningMesh(tmp_path / "mesh", text, arguments=arguments, environment=ENVIRONMENT)
        async with mesh:
            triggers = (await mesh.status()).brokers[0].triggers
            for each in triggers:
                kind = each.name.removeprefix("default/")
                assert (await post(mesh, BROKER, body, binary(kind))).status == 202
            await refusals(mesh)
            done = await mesh.until(lambda status: is_done(status, mesh.output()))
            redrive = f"/api/v1/brokers{BROKER}/deadletters/redrive"
            await mesh.request("POST", redrive, body=b'{"all": true}', port=mesh.admin_port)
            mesh.manifest.write_text(text.replace("S3cret-wrong", "S3cret-other"))
            await mesh.until(lambda _: '"manifests"' in audit.read_text())

    delivered = {each.name for each in done.brokers[0].triggers if each.delivered}
    assert delivered == {"default/ok", "default/replies", "default/slack"}
    lines = [*mesh.output().splitlines(), *audit.read_text().splitlines()]
    assert len(lines) > 5 * len(triggers)
    assert [each for each in lines if any(one in each for one in hidden())] == []


@pytest.mark.parametrize("kind", ["RabbitMQ", "Kafka"])
async def test_what_is_said_of_a_channel_has_no_password_of_it(kind: str, tmp_path: Path) -> None:
    arguments = ("--log-level", "debug")
    async with echoing() as echo:
        text, environment = kafka_broker(f"{HOST}:{echo}"), {}
        if kind == "RabbitMQ":
            text = document(EVENTING, "Broker", "default")
            environment["CEMESH_CHANNEL"] = f"amqp://user:{SECRETS['channel']}@{HOST}:{echo}"
        mesh = RunningMesh(
            tmp_path, text, part="ingress", arguments=arguments, environment=environment
        )
        with pytest.raises(RuntimeError, match="ended with 3"):
            await mesh.start()

    assert f"{kind} at {HOST}:{echo}" in mesh.output()
    assert not [each for each in hidden() if each in mesh.output()]
