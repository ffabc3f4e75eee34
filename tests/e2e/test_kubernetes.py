"""``cemesh run --kubernetes`` on a real API server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chart.definitions import define
from tests.e2e.manifests import broker, event, steady, trigger
from tests.services.kubernetes.client import Kubernetes
from tests.services.mesh import CEMESH, HOST, RunningMesh, free_port
from tests.services.mesh import trigger as status_of
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.timeout(120)

EVENTING = "eventing.knative.dev/v1"
POLICIES = "cemesh.dev/v1alpha1"


@pytest.fixture(scope="module")
def cluster(kubernetes: Kubernetes) -> Kubernetes:
    """Return the shared API server, which has the kinds of the mesh."""
    define(kubernetes)
    return kubernetes


async def ready_message(cluster: Kubernetes, namespace: str, status: str) -> str:
    """Return what the trigger's condition Ready says once it is of that status."""
    async with asyncio.timeout(30):
        while True:
            found = await asyncio.to_thread(
                cluster.get, "Trigger", "orders", namespace, api_version=EVENTING
            )
            for each in ((found or {}).get("status") or {}).get("conditions") or []:
                if (each["type"], each["status"]) == ("Ready", status):
                    return str(each.get("message"))
            await asyncio.sleep(0.05)


async def test_a_trigger_that_is_wrong_gets_what_came_meanwhile_once_it_is_right(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    namespace = cluster.namespace()
    orders, other = f"{namespace}/orders", f"{namespace}/other"
    async with Subscriber() as subscriber:
        takes = trigger("orders", subscriber.url("/orders"), pauses=False)
        for each in (steady(), broker(), takes):
            cluster.apply(each, namespace)
        mesh = RunningMesh(
            tmp_path,
            steady().replace("steady", "unused"),  # what is in files runs beside it
            arguments=["--kubernetes"],
            environment={
                "KUBECONFIG": str(cluster.kubeconfig()),
                "CEMESH_KUBERNETES_NAMESPACE": namespace,
                "CEMESH_KUBERNETES_LEASE": namespace,  # one that no other test has
                "CEMESH_KUBERNETES_ADDRESS": "http://mesh.example",
            },
        )
        async with mesh:
            assert await mesh.send(f"{namespace}/default", event("1")) == 202
            await mesh.until(lambda status: status_of(status, orders).delivered == 1)

            # Wrong while no mesh runs that would know how it was when it was right.
            await mesh.terminate()
            cluster.delete("DeliveryPolicy", "steady", namespace, api_version=POLICIES)
            await mesh.start()
            found = await mesh.until(lambda status: len(status.problems) == 1)
            assert found.problems[0].subject == f"Trigger {orders}"
            assert f"no DeliveryPolicy '{namespace}/steady'" in found.problems[0].message
            assert not found.brokers[0].triggers
            assert await mesh.send(f"{namespace}/default", event("2")) == 202
            message = await ready_message(cluster, namespace, "False")
            assert f"no DeliveryPolicy '{namespace}/steady' in this cluster" in message

            cluster.apply(trigger("other", subscriber.url("/other")), namespace)
            await mesh.until(lambda status: bool(status.brokers[0].triggers))
            cluster.apply(steady(), namespace)
            received = await subscriber.received_at("/orders", 2)
            await mesh.until(lambda status: not status.problems)
            await ready_message(cluster, namespace, "True")
            scrape = await mesh.request("GET", "/metrics", port=mesh.admin_port)
            assert b"\ncemesh_kubernetes_synced 1" in scrape.body

            cluster.delete("Trigger", "orders", namespace, api_version=EVENTING)
            await mesh.until(
                lambda status: [each.name for each in status.brokers[0].triggers] == [other]
            )
    assert [each.header("ce-id") for each in received] == ["1", "2"]


@contextmanager
def cemesh(folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a mesh that is not expected to come as far as to have ports."""
    ports = ["--port", str(free_port()), "--admin-port", str(free_port())]
    process = subprocess.Popen(
        [str(CEMESH), "run", "--kubernetes", *ports, "--data-dir", str(folder / "data")],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
        cwd=folder,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_it_waits_for_an_api_server_until_it_is_stopped(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    nobody = f"https://{HOST}:{free_port()}"
    with cemesh(tmp_path, KUBECONFIG=str(cluster.kubeconfig(url=nobody))) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 0

    assert "waiting for the cluster" in told
    assert f"the API server at {nobody} cannot be reached" in told
    assert "hint=" in told


def test_without_a_cluster_it_does_not_start(tmp_path: Path) -> None:
    with cemesh(tmp_path) as process:
        _, told = process.communicate(timeout=20)

        assert process.returncode == 3
    assert told.startswith("cemesh cannot start: there is no Kubernetes around: ")
    assert "--kubeconfig" in told
