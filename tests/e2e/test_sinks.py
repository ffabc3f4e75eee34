"""Sinks that manifests describe, in a mesh that runs."""

from __future__ import annotations

import json
from pathlib import Path

from broker.codecs.json import decode_event
from tests.e2e.manifests import broker, event, manifest
from tests.services.mesh import RunningMesh
from tests.services.pages import as_run

SINKS = "sinks.cemesh.dev/v1alpha1"
PAGE = Path(__file__).parents[2] / "docs" / "sinks" / "README.md"


async def test_the_sink_of_the_page_takes_events(tmp_path: Path) -> None:
    as_run(PAGE.read_text(), tmp_path)
    text = manifest(broker(), (tmp_path / "manifests" / "ledger.yaml").read_text())
    async with RunningMesh(tmp_path / "mesh", text, cwd=tmp_path) as mesh:
        for number in range(3):
            assert await mesh.send("default/default", event(f"event-{number}")) == 202
        await mesh.until(lambda status: status.brokers[0].triggers[0].delivered == 3)
        status = await mesh.status()

    lines = (tmp_path / "ledger.txt").read_text().splitlines()
    assert sorted(lines) == [f"com.example.thing event-{number}" for number in range(3)]
    assert status.brokers[0].triggers[0].subscriber == "sink://default/ledger"


def sink(kind: str, name: str, spec: object) -> str:
    metadata = {"name": name}
    return json.dumps({"apiVersion": SINKS, "kind": kind, "metadata": metadata, "spec": spec})


def files_of(folder: Path) -> list[Path]:
    return [each for each in folder.glob("events.jsonl*") if each.suffix != ".lock"]


def trigger_to(kind: str, name: str) -> str:
    ref = {"apiVersion": SINKS, "kind": kind, "name": name}
    return json.dumps(
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": name},
            "spec": {"broker": "default", "subscriber": {"ref": ref}},
        }
    )


async def test_a_mesh_that_is_killed_as_it_writes_leaves_whole_lines_and_every_event(
    tmp_path: Path,
) -> None:
    file = tmp_path / "events.jsonl"
    spec = {"path": str(file), "rotate": {"maxBytes": 5_000, "keep": 100}}
    text = manifest(broker(), sink("FileSink", "all", spec), trigger_to("FileSink", "all"))
    accepted = 0
    async with RunningMesh(tmp_path / "mesh", text) as mesh:
        for _ in range(3):
            for _ in range(100):
                assert await mesh.send("default/default", event(str(accepted))) == 202
                accepted += 1
            await mesh.kill9()
            await mesh.start()
        await mesh.until(lambda status: status.brokers[0].triggers[0].waiting == 0)

    files = files_of(tmp_path)
    lines = [line for each in files for line in each.read_bytes().splitlines()]
    assert {decode_event(line).id for line in lines} == {str(number) for number in range(accepted)}
    assert len(files) > 2, "it was rotated"


async def test_a_log_sink_writes_to_the_output_of_the_mesh(tmp_path: Path) -> None:
    text = manifest(
        broker(),
        sink("LogSink", "whole", {"format": "json"}),
        trigger_to("LogSink", "whole"),
        sink("LogSink", "short", {}),
        trigger_to("LogSink", "short"),
    )
    async with RunningMesh(tmp_path / "mesh", text) as mesh:
        assert await mesh.send("default/default", event("event-1", data=b'{"a":\n1}')) == 202
        await mesh.until(
            lambda status: [each.delivered for each in status.brokers[0].triggers] == [1, 1]
        )
        output = mesh.output_end()

    assert '"id":"event-1"' in output
    assert '{"a": 1}' in output
    assert "default/short  type=com.example.thing  source=/tests  id=event-1  8 bytes" in output
