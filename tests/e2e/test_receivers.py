"""A source that is called, at the data port of a mesh that runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber

HOOK = """
from cemesh import Event, HttpReply


class Hook:
    def __init__(self, context):
        self._uri = context.uri

    async def receive(self, request, emit):
        if request.header("x-key") != "swordfish":
            return HttpReply(status=401, headers={"WWW-Authenticate": "Key"}, body=b"whose?")
        if request.query:
            raise RuntimeError("a bug")
        await emit(Event({"specversion": "1.0", "id": request.header("x-id"), "source": self._uri,
                          "type": "t", "method": request.method}, request.body))
"""
PATH = "/sources/default/hook"
KEY = {"x-key": "swordfish"}
BROKER = "default/default"
REFUSED = f'cemesh_refused_requests_total{{broker="{BROKER}",status="%d",reason="%s"}}'


def source(to: str = "default") -> str:
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": to}
    return json.dumps(
        {
            "apiVersion": "cemesh.dev/v1alpha1",
            "kind": "Source",
            "metadata": {"name": "hook"},
            "spec": {"class": "hook:Hook", "sink": {"ref": ref}},
        }
    )


@pytest.mark.parametrize("workers", ["1", "3"])
async def test_requests_to_its_path_are_its_own_in_every_process(
    tmp_path: Path, workers: str
) -> None:
    (tmp_path / "hook.py").write_text(HOOK)
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("all", subscriber.url("/all")), source())
        mesh = RunningMesh(
            tmp_path / "mesh",
            text,
            cwd=tmp_path,
            arguments=("--workers", workers, "--max-event-size", "1KiB"),
        )
        async with mesh:
            for number in range(9):  # each by a connection of its own
                headers = {**KEY, "x-id": str(number)}
                answer = await mesh.request("PUT", PATH, headers=headers, body=b"%d" % number)
                assert (answer.status, answer.body) == (202, b"")
            came = await subscriber.received_at("/all", 9)

            refused = await mesh.request("POST", PATH)
            assert (refused.status, refused.body) == (401, b"whose?")
            assert refused.headers["www-authenticate"] == "Key"
            assert (await mesh.request("POST", PATH, headers=KEY, body=b"x" * 1025)).status == 413
            # `x-id` is missing, and so is the event's.
            invalid = await mesh.request("POST", PATH, headers=KEY)
            assert invalid.status == 400
            assert b"'id'" in invalid.body
            assert (await mesh.request("GET", f"{PATH}?x", headers=KEY)).status == 500
            assert (await mesh.request("POST", "/sources/default/other")).status == 404

            metrics = (await mesh.request("GET", "/metrics", port=mesh.admin_port)).body.decode()
            told = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[:1] != "#")
            for why in ((400, "invalid_event"), (401, "source"), (413, "too_large")):
                assert told[REFUSED % why] == "1.0"
            assert told[REFUSED % (500, "fault")] == "1.0"
            unknown = REFUSED.replace(BROKER, "") % (404, "unknown_source")
            assert told[unknown] == "1.0"

            status = await mesh.until(lambda status: status.sources[0].emitted == 9)
            assert (status.sources[0].kind, status.sources[0].state) == ("Source", "running")

    assert sorted(each.header("ce-id") or "" for each in came) == [*map(str, range(9))]
    assert {each.header("ce-method") for each in came} == {"PUT"}
    assert "RuntimeError: a bug" in mesh.output()
    assert re.search(rf'request not taken  path={PATH} source="Source [^"]+"', mesh.output())
    assert f"  call sources at http://127.0.0.1:{mesh.port}{PATH}\n" in mesh.output()


async def test_it_follows_the_files(tmp_path: Path) -> None:
    (tmp_path / "hook.py").write_text(HOOK)
    brokers = manifest(broker(), broker("second"))
    async with RunningMesh(tmp_path / "mesh", manifest(brokers, source()), cwd=tmp_path) as mesh:
        headers = {**KEY, "x-id": "1"}
        assert (await mesh.request("POST", PATH, headers=headers)).status == 202

        mesh.manifest.write_text(manifest(brokers, source(to="second")))
        await mesh.until(lambda status: status.sources[0].broker == "default/second")
        assert (await mesh.request("POST", PATH, headers=headers)).status == 202
        status = await mesh.until(lambda status: sum(each.accepted for each in status.brokers) == 2)
        assert [each.accepted for each in status.brokers] == [1, 1]

        mesh.manifest.write_text(brokers)
        await mesh.until(lambda status: not status.sources)
        assert (await mesh.request("POST", PATH, headers=headers)).status == 404
