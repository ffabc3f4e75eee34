"""What a cluster does to a mesh that runs its objects while events come all the time.

Every accepted event reaches every trigger that was there when it was accepted, whatever becomes
of the API server, of its memory, of tokens, of definitions, and of the mesh itself.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.chart.definitions import define
from tests.contract.cluster_mesh import SOURCES, until
from tests.e2e.clusters import (
    POLICIES,
    WITHIN,
    Cluster,
    Senders,
    all_came,
    all_running,
    balanced,
    logs,
    ping,
    runs,
)
from tests.e2e.manifests import broker, event, manifest, steady
from tests.services.kubernetes.client import Kubernetes
from tests.services.kubernetes.server import KubernetesServer
from tests.services.mesh import HOST, free_port
from tests.services.relay import Relay
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("channel", ["kafka"], indirect=True)
async def test_whatever_the_cluster_does_each_trigger_gets_all_that_was_accepted(
    channel: str, kubernetes_server: KubernetesServer, tmp_path: Path
) -> None:
    names = ("always", "changed", "held", "again")
    async with Subscriber() as subscriber:
        with kubernetes_server as server:
            define(server.api)
            cluster = Cluster(server.api, subscriber)
            cluster.apply(steady(), broker(), ping(), *map(cluster.trigger, names))
            ingress, dispatcher, _ = parts = [
                cluster.mesh(tmp_path, part, CEMESH_CHANNEL=channel)
                for part in ("ingress", "dispatcher", "sources")
            ]
            async with all_running(*parts), AsyncExitStack() as sending:
                await cluster.says("True", "Trigger", *names)
                senders = await sending.enter_async_context(Senders(ingress, cluster.to))
                cluster.apply(cluster.trigger("changed", "/changed-since"))
                await subscriber.received_at("/changed-since", 3)
                cluster.delete("DeliveryPolicy", "steady", POLICIES)
                await cluster.says("False", "Trigger", "held")

                # What it was, a dispatcher that starts cannot know; that it is there, it waits for.
                expire, renew = cluster.tokens()
                await asyncio.to_thread(server.kill)
                await dispatcher.kill9()
                server.api.compact()
                expire()
                again = asyncio.create_task(dispatcher.start(within=WITHIN))
                await logs(dispatcher, "waiting for the cluster")
                await senders.some_more()
                await asyncio.to_thread(server.start)
                for each in parts:
                    await logs(each, "answers 401")
                renew()
                await again
                await dispatcher.until(runs("always", "changed", "again"))

                # Those of a kind that is not served run on, beside what is new.
                cluster.serves_triggers(served=False)
                await logs(dispatcher, "kind is no longer served")
                cluster.apply(broker("second"))
                await dispatcher.until(lambda status: len(status.brokers) == 2)
                await dispatcher.until(runs("always", "changed", "again"))
                cluster.serves_triggers(served=True)
                await until(cluster.has_triggers, bool)

                cluster.delete("Trigger", "again")
                cluster.apply(cluster.trigger("late", to="second"))
                await dispatcher.until(runs("always", "changed", "late"), within=WITHIN)
                cluster.apply(cluster.trigger("again"), steady())
                await dispatcher.until(runs(*names, "late"))
                before = set(senders.accepted)
                await senders.some_more()
                assert await ingress.send(f"{cluster.namespace}/second", event("late")) == 202
                accepted = await senders.stop()

                await all_came(subscriber, accepted, "/always")
                await all_came(subscriber, accepted, "/changed", "/changed-since")
                await all_came(subscriber, accepted, "/held")
                await all_came(subscriber, accepted - before, "/again")
                await all_came(subscriber, {"late"}, "/late")
                await balanced(dispatcher, *(cluster.key(each) for each in (*names, "late")))
                await cluster.says("True", "Trigger", *names, "late")
                await cluster.says("True", "Broker", "default", "second")
                await cluster.says("True", "PingSource", "tick", api_version=SOURCES)
                for each in parts:
                    await each.until(lambda status: not status.problems)
                    assert await each.terminate() == 0
    for each in parts:
        assert "Traceback" not in each.output(), each.output_end()


async def test_all_processes_of_a_mesh_keep_to_what_they_know_while_a_cluster_is_away(
    kubernetes: Kubernetes, kubernetes_relay: Relay, tmp_path: Path
) -> None:
    define(kubernetes)
    names = ("always", "changed", "held", "again")
    async with Subscriber() as subscriber:
        cluster = Cluster(kubernetes, subscriber, url=kubernetes_relay.in_url(kubernetes.url))
        cluster.apply(steady(), broker(), *map(cluster.trigger, names))
        mesh = cluster.mesh(tmp_path, "run", "--workers=2")
        async with mesh, AsyncExitStack() as sending:
            await mesh.until(runs(*names))
            senders = await sending.enter_async_context(Senders(mesh, cluster.to))
            expire, renew = cluster.tokens()
            with kubernetes_relay.cut():
                cluster.delete("DeliveryPolicy", "steady", POLICIES)
                cluster.delete("Trigger", "again")
                cluster.apply(cluster.trigger("changed", "/changed-since"), broker("second"))
                expire()
                await logs(mesh, "cluster not followed")
                await senders.some_more()
                await mesh.kill9()
                again = asyncio.create_task(mesh.start(within=WITHIN))
                await logs(mesh, "waiting for the cluster")
            await logs(mesh, "answers 401")
            renew()
            await again
            await mesh.until(runs("always", "changed"))
            await subscriber.received_at("/changed-since", 3)
            cluster.apply(steady())
            await mesh.until(runs("always", "changed", "held"))
            accepted = await senders.stop()

            await all_came(subscriber, accepted, "/always")
            await all_came(subscriber, accepted, "/changed", "/changed-since")
            await all_came(subscriber, accepted, "/held")
            await balanced(mesh, *map(cluster.key, ("always", "changed", "held")))
            await mesh.until(lambda status: len(status.brokers) == 2 and not status.problems)
            with kubernetes_relay.hung():
                assert await mesh.terminate() == 0
    assert "Traceback" not in mesh.output(), mesh.output_end()


def on_kafka(name: str, servers: str) -> str:
    """Return a broker whose events are stored by a Kafka of its own."""
    config = {
        "bootstrap.servers": servers,
        "default.topic.partitions": "1",
        "default.topic.replication.factor": "1",
    }
    its = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": config}
    found = json.loads(broker(name))
    found["metadata"]["annotations"] = {"eventing.knative.dev/broker.class": "Kafka"}
    found["spec"] = {"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": name}}
    return manifest(json.dumps(its), json.dumps(found))


async def test_a_broker_whose_store_is_away_as_a_mesh_starts_is_run_once_that_is_there(
    kubernetes: Kubernetes, kafka: str, tmp_path: Path
) -> None:
    define(kubernetes)
    async with Subscriber() as subscriber, Relay(f"{HOST}:{free_port()}", to=kafka) as store:
        cluster = Cluster(kubernetes, subscriber)
        late = cluster.trigger("late", to="late")
        cluster.apply(broker(), on_kafka("late", store.address), late)
        mesh = cluster.mesh(tmp_path, "run")
        async with AsyncExitStack() as stack:
            with store.cut():
                await stack.enter_async_context(mesh)
                status = await mesh.status()
            assert [each.name for each in status.brokers] == [cluster.to]
            assert [each.subject for each in status.problems] == [f"Broker {cluster.key('late')}"]

            await mesh.until(runs("late"), within=WITHIN)
            assert await mesh.send(cluster.key("late"), event("1")) == 202
            await all_came(subscriber, {"1"}, "/late")
