"""What a mesh reads in a cluster, and follows, on a real API server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.connections.kubernetes.collections import Collection
from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.connections.kubernetes.mirror import Mirror
from broker.event import Event
from broker.kubernetes import cluster as clusters
from broker.kubernetes import kinds
from broker.kubernetes.cluster import Cluster
from broker.manifest import Loaded
from broker.mesh import Mesh
from broker.ports import BackendOptions
from broker.settings import KubernetesSettings, Settings
from broker.trigger import Desired
from charts.crds.files import DEFINITIONS
from tests.chart.definitions import define
from tests.contract.cluster_mesh import rules
from tests.services.kubernetes.client import Kubernetes
from tests.services.kubernetes.server import KubernetesServer
from tests.services.mesh import HOST, free_port
from tests.services.relay import Relay
from tests.services.subscribers import Subscriber

EVENTING = "eventing.knative.dev/v1"
POLICIES = "cemesh.dev/v1alpha1"
WITHIN = 30

BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: %s, annotations: {%s}}
"""
TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: %s, annotations: {%s}}
spec:
  broker: %s
  subscriber: {%s}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  ports: [%s]
"""
POLICY = """
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {name: steady}
spec: {breaker: {enabled: false}}
"""
TO_SHOP = "ref: {apiVersion: v1, kind: Service, name: shop}"
OF_CEMESH = "eventing.knative.dev/broker.class: cemesh"
OPTIONS = BackendOptions(data_dir="", retention_age=timedelta(days=1), retention_bytes=1 << 26)


def a_broker(name: str = "default", annotations: str = "") -> str:
    return BROKER % (name, annotations)


def a_trigger(
    name: str = "one",
    subscriber: str = "uri: http://there.example/",
    *,
    broker: str = "default",
    annotations: str = "",
) -> str:
    return TRIGGER % (name, annotations, broker, subscriber)


def a_secret(**values: str) -> dict[str, object]:
    data = {key: base64.b64encode(each.encode()).decode() for key, each in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "clients"}, "data": data}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_LOOKS_EVERY", 0.2)
    monkeypatch.setattr(clusters, "_LOOKS_EVERY", 0.2)


@pytest.fixture(scope="module")
def served(kubernetes: Kubernetes) -> Kubernetes:
    """Return the shared server, which has the kinds of the mesh."""
    define(kubernetes)
    return kubernetes


@pytest.fixture
def namespace(served: Kubernetes) -> str:
    return served.namespace()


class Following:
    """What a mesh on ``cluster`` would run by now, as ``loaded`` has it.

    ``apply`` is called with what it is to run.
    """

    def __init__(self, cluster: Cluster, mesh: Mesh | None) -> None:
        self.cluster = cluster
        self.loads = 0
        self._mesh = mesh
        self._told = asyncio.Event()

    @property
    def desired(self) -> Desired:
        return self.loaded.desired

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong, by kind and name."""
        return {each.subject: each.message for each in self.loaded.problems}

    async def load(self) -> None:
        self.loaded: Loaded = await self.cluster.load()
        if self._mesh is not None:
            await self._mesh.apply(self.loaded.desired)
        self.loads += 1
        self._told.set()

    async def follow(self) -> None:
        async for _ in self.cluster.changes():
            await self.load()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(WITHIN):
            while not holds():
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def following(
    kubeconfig: Path,
    *namespaces: str,
    classes: Sequence[str] = (),
    paths: Sequence[Path] = (),
    mesh: Mesh | None = None,
) -> AsyncIterator[Following]:
    """Follow the cluster while the context lasts, once all of it is known."""
    kubernetes = KubernetesSettings(
        namespaces=namespaces, kubeconfig=kubeconfig, classes=tuple(classes)
    )
    settings = Settings(paths=tuple(paths), kubernetes=kubernetes)
    async with Cluster(settings, refuse=lambda _: ()) as cluster:
        found = Following(cluster, mesh)
        async with asyncio.timeout(WITHIN):
            await found.load()
        task = asyncio.create_task(found.follow())
        try:
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[str]:
    """Return why each such line was logged."""
    return [getattr(each, "why", "") for each in caplog.records if each.message == message]


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN):
        while not holds():
            await asyncio.sleep(0.02)


# --- objects ---------------------------------------------------------------------------------


async def test_what_is_there_is_run_and_what_becomes_of_it_is_followed(
    served: Kubernetes, namespace: str
) -> None:
    served.apply(a_broker(), namespace)
    served.apply(a_trigger(), namespace)
    key = f"{namespace}/one"

    async with following(served.kubeconfig(), namespace) as found:
        assert set(found.desired.brokers) == {f"{namespace}/default"}
        assert found.desired.triggers[key].subscriber.url == "http://there.example/"

        served.apply(a_trigger(subscriber="uri: http://elsewhere.example/"), namespace)
        served.apply(a_trigger("two"), namespace)
        await found.until(
            lambda: (
                f"{namespace}/two" in found.desired.triggers
                and found.desired.triggers[key].subscriber.url == "http://elsewhere.example/"
            )
        )
        served.delete("Trigger", "one", namespace, api_version=EVENTING)
        await found.until(lambda: set(found.desired.triggers) == {f"{namespace}/two"})
        assert found.desired.held == frozenset()


async def test_objects_of_other_namespaces_are_not_seen(served: Kubernetes, namespace: str) -> None:
    served.apply(a_broker(), namespace)
    another = served.namespace()
    served.apply(a_broker(), another)
    served.apply(a_broker(), served.namespace())

    async with following(served.kubeconfig(), namespace, another) as found:
        assert set(found.desired.brokers) == {f"{namespace}/default", f"{another}/default"}


async def test_brokers_of_other_classes_are_left_alone(served: Kubernetes, namespace: str) -> None:
    for each in (a_broker(), a_trigger(), a_broker("ours", OF_CEMESH)):
        served.apply(each, namespace)
    served.apply(a_trigger("mine", broker="ours"), namespace)

    async with following(served.kubeconfig(), namespace, classes=["cemesh"]) as found:
        assert set(found.desired.brokers) == {f"{namespace}/ours"}
        assert set(found.desired.triggers) == {f"{namespace}/mine"}
        assert not found.problems
        assert not found.desired.held


async def test_an_object_that_is_being_deleted_runs_until_it_is_gone(
    served: Kubernetes, namespace: str
) -> None:
    served.apply(a_broker(), namespace)
    [held_up] = served.apply(a_trigger(), namespace)
    finalizers = {"metadata": {"finalizers": ["tests.example/later"]}}
    served.patch("Trigger", "one", namespace, finalizers, api_version=EVENTING)

    async with following(served.kubeconfig(), namespace) as found:
        served.delete("Trigger", "one", namespace, api_version=EVENTING)
        await found.until(lambda: found.loads > 1)
        assert set(found.desired.triggers) == {f"{namespace}/{held_up['metadata']['name']}"}
        gone: dict[str, object] = {"metadata": {"finalizers": []}}
        served.patch("Trigger", "one", namespace, gone, api_version=EVENTING)
        await found.until(lambda: not found.desired.triggers)


async def test_a_trigger_that_is_held_gets_what_came_meanwhile(
    served: Kubernetes, namespace: str
) -> None:
    key = f"{namespace}/default"

    async def send(id: str) -> None:
        event = Event.checked({"specversion": "1.0", "id": id, "source": "/", "type": "t"})
        await mesh.channel(key).append([event])

    async with (
        Subscriber() as subscriber,
        Mesh(channel="memory:", options=OPTIONS, drain_timeout=timedelta(seconds=5)) as mesh,
    ):
        notes = "cemesh.dev/delivery-policy: steady"
        to = f'uri: "{subscriber.url("/")}"'
        for each in (a_broker(), POLICY, a_trigger(subscriber=to, annotations=notes)):
            served.apply(each, namespace)
        async with following(served.kubeconfig(), namespace, mesh=mesh) as found:
            await send("1")
            await subscriber.received_at("/", 1)
            served.delete("DeliveryPolicy", "steady", namespace, api_version=POLICIES)
            await found.until(lambda: found.desired.held)
            await send("2")
            assert found.desired.held == {f"{namespace}/one"}
            served.apply(POLICY, namespace)
            received = await subscriber.received_at("/", 2)

    assert [each.header("ce-id") for each in received] == ["1", "2"]


# --- what they refer to ----------------------------------------------------------------------


async def test_secrets_are_followed_and_who_needs_them_is_told_where_they_are_missing(
    served: Kubernetes, namespace: str
) -> None:
    served.apply(a_broker(annotations="cemesh.dev/access: clients"), namespace)
    subject, key = f"Broker {namespace}/default", f"{namespace}/default"

    async with following(served.kubeconfig(), namespace) as found:
        assert found.problems == {
            subject: f"no Secret '{namespace}/clients' in this cluster",
        }
        served.apply(a_secret(till="sesame"), namespace)
        await found.until(lambda: not found.problems)
        access = found.desired.brokers[key].access
        assert access is not None
        assert access.bearer == {"till": "sesame"}

        served.apply(a_secret(till="mustard"), namespace)
        await found.until(lambda: access != found.desired.brokers[key].access)


async def test_what_may_not_be_read_is_wrong_where_it_is_referred_to(
    served: Kubernetes, namespace: str
) -> None:
    served.apply(a_broker(annotations="cemesh.dev/access: clients"), namespace)
    served.apply(a_broker("other"), namespace)
    served.apply(a_secret(till="sesame"), namespace)
    user = f"{namespace}/mesh"
    served.allow(user, rules(), namespaces=[namespace])

    async with following(served.kubeconfig(user), namespace) as found:
        assert set(found.desired.brokers) == {f"{namespace}/other"}
        [why] = found.problems.values()
        assert f"; it takes a Role of the namespace '{namespace}' with the rule" in why
        assert 'resources ["secrets"], resourceNames ["clients"], verbs' in why

        may = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["clients"]}
        read = {**may, "verbs": ["get", "list", "watch"]}
        served.allow(user, [*rules(), read], namespaces=[namespace])
        await found.until(lambda: not found.problems)


async def test_where_a_service_takes_events_is_looked_up_and_followed(
    served: Kubernetes, namespace: str
) -> None:
    for each in (a_broker(), a_trigger(subscriber=TO_SHOP)):
        served.apply(each, namespace)
    host = f"http://shop.{namespace}.svc.cluster.local"

    def url() -> str:
        triggers = found.desired.triggers.values()
        return "".join(each.subscriber.url for each in triggers)

    async with following(served.kubeconfig(), namespace) as found:
        assert list(found.problems.values()) == [f"no Service {namespace}/shop in this cluster"]
        served.apply(SERVICE % "{port: 8080, name: events}", namespace)
        await found.until(lambda: url() == f"{host}:8080")
        served.apply(SERVICE % "{port: 80, name: http}, {port: 8080, name: events}", namespace)
        await found.until(lambda: url() == host)
        several = "{port: 90, name: admin}, {port: 8080, name: events}"
        served.delete("Service", "shop", namespace)
        served.apply(SERVICE % several, namespace)
        await found.until(lambda: "say which" in "".join(found.problems.values()))
        assert "(90 admin, 8080 events)" in "".join(found.problems.values())
        assert url() == ""
        assert found.desired.held


async def test_what_has_an_address_in_its_status_is_sent_to(
    served: Kubernetes, namespace: str
) -> None:
    kind = f"Kind{namespace.rpartition('-')[2]}"
    ref = f"ref: {{apiVersion: tests.example/v1, kind: {kind}, name: there}}"
    for each in (a_broker(), a_trigger(subscriber=ref)):
        served.apply(each, namespace)

    async with following(served.kubeconfig(), namespace) as found:
        assert f"the API server has no kind {kind}" in "".join(found.problems.values())
        served.apply(a_definition(kind))
        await found.until(
            lambda: f"no {kind} {namespace}/there" in "".join(found.problems.values())
        )
        there = {
            "apiVersion": "tests.example/v1",
            "kind": kind,
            "metadata": {"name": "there"},
            "status": {"conditions": [{"type": "Ready", "message": "no leader"}]},
        }
        served.apply(there, namespace)
        await found.until(
            lambda: "has no address in its status: no l" in "".join(found.problems.values())
        )
        status = {"address": {"url": "http://there.example/", "audience": "us"}}
        served.apply({**there, "status": status}, namespace)
        await found.until(lambda: found.desired.triggers)
        [trigger] = found.desired.triggers.values()
        assert trigger.subscriber.url == "http://there.example/"


def a_definition(kind: str) -> dict[str, object]:
    """Return a definition of a kind that takes anything."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.tests.example"},
        "spec": {
            "group": "tests.example",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


async def test_files_stand_beside_what_is_in_the_cluster(
    served: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "mesh.yaml"
    manifest.write_text(
        a_broker().replace("name: default", f"name: default, namespace: {namespace}")
    )
    served.apply(a_trigger(), namespace)

    async with following(served.kubeconfig(), namespace, paths=[tmp_path]) as found:
        assert set(found.desired.triggers) == {f"{namespace}/one"}
        manifest.write_text(manifest.read_text().replace("default,", "other,"))
        await found.until(lambda: set(found.desired.brokers) == {f"{namespace}/other"})
        assert found.desired.held == {f"{namespace}/one"}


# --- bad days --------------------------------------------------------------------------------


async def test_nothing_runs_before_all_may_be_read(
    served: Kubernetes, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    served.apply(a_broker(), namespace)
    user = f"{namespace}/mesh"
    served.allow(user, rules(without="triggers"), namespaces=[namespace])
    settings = KubernetesSettings(namespaces=(namespace,), kubeconfig=served.kubeconfig(user))
    async with Cluster(Settings(paths=(), kubernetes=settings), refuse=lambda _: ()) as cluster:
        loading = asyncio.create_task(cluster.load())
        await until(lambda: logged(caplog, "waiting for the cluster"))
        [why] = logged(caplog, "waiting for the cluster")
        assert 'the rule apiGroups ["eventing.knative.dev"], resources ["triggers"]' in why
        assert not loading.done()
        served.allow(user, rules(), namespaces=[namespace])
        await until(loading.done)
        loaded = await loading
    assert set(loaded.desired.brokers) == {f"{namespace}/default"}


async def test_a_server_that_is_away_takes_nothing_with_it(
    served: Kubernetes,
    kubernetes_relay: Relay,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for each in (a_broker(), a_trigger()):
        served.apply(each, namespace)
    url = kubernetes_relay.in_url(served.url)
    async with following(served.kubeconfig(url=url), namespace) as found:
        with kubernetes_relay.cut():
            served.delete("Trigger", "one", namespace, api_version=EVENTING)
            await until(found.cluster.unfollowed)
            assert found.desired.triggers
            assert found.loads == 1
        await found.until(lambda: not found.desired.triggers)
        assert not found.desired.held
        await until(lambda: not found.cluster.unfollowed())
    assert len(set(logged(caplog, "cluster not followed"))) == len(
        logged(caplog, "cluster not followed")
    )


async def test_another_token_is_taken_up_when_the_former_is_not_valid_any_more(
    served: Kubernetes, kubernetes_relay: Relay, namespace: str
) -> None:
    user = f"{namespace}/mesh"
    served.allow(user, rules(), namespaces=[namespace])
    url = kubernetes_relay.in_url(served.url)
    kubeconfig = served.kubeconfig(user, url=url)
    token = kubeconfig.with_suffix(".token")
    async with following(kubeconfig, namespace) as found:
        token.write_text(served.expired_token(user))
        with kubernetes_relay.cut():
            pass  # what is under way may go on for as long as it takes
        await until(lambda: any("401" in each for each in found.cluster.unfollowed()))
        served.apply(a_broker(), namespace)
        token.write_text(served.token(user))
        await found.until(lambda: found.desired.brokers)


async def test_where_the_server_has_forgotten_our_place_what_was_missed_is_found_out(
    kubernetes: Kubernetes, kubernetes_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """Of PodTemplates: of other kinds an API server remembers more than its store."""
    caplog.set_level("INFO", "cemesh.kubernetes")
    namespace = kubernetes.namespace()
    access = by_kubeconfig(kubernetes.kubeconfig(url=kubernetes_relay.in_url(kubernetes.url)))
    of = Collection(
        api_version="v1", kind="PodTemplate", plural="podtemplates", namespace=namespace
    )
    changed = asyncio.Event()
    mirror = Mirror(access, of, changed=changed.set, fared=changed.set)
    for name in ("stays", "goes"):
        kubernetes.apply(a_template(name), namespace)

    def names() -> set[str]:
        return {key.rpartition("/")[2] for key in mirror.objects}

    running = asyncio.create_task(mirror.run())
    try:
        await until(lambda: names() == {"stays", "goes"})
        kubernetes.apply(a_template("comes"), namespace)
        await until(lambda: "comes" in names())  # so it is watched
        with kubernetes_relay.cut():
            kubernetes.delete("PodTemplate", "goes", namespace)
            kubernetes.apply(a_template("later"), namespace)
            kubernetes.compact()
        await until(lambda: names() == {"stays", "comes", "later"})
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert "place is gone" in caplog.messages


def a_template(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": name},
        "template": {"spec": {"containers": [{"name": "one", "image": "one"}]}},
    }


async def test_what_was_missed_while_a_server_was_killed_and_started_anew_is_found_out(
    kubernetes_server: KubernetesServer,
) -> None:
    with kubernetes_server as server:
        for name in ("brokers", "triggers"):
            file = DEFINITIONS / f"{name}.eventing.knative.dev.yaml"
            server.api.apply(file.read_text())
        for each in (a_broker(), a_trigger(), a_trigger("gone")):
            server.api.apply(each, "default")
        way = Relay(f"{HOST}:{free_port()}", to=urlsplit(server.api.url).netloc)
        async with way:
            url = way.in_url(server.api.url)
            async with following(server.api.kubeconfig(url=url)) as found:
                assert len(found.desired.triggers) == 2
                with way.cut():
                    server.api.delete("Trigger", "gone", "default", api_version=EVENTING)
                    server.api.apply(a_trigger("two"), "default")
                    server.api.compact()
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                    assert len(found.desired.triggers) == 2
                await found.until(
                    lambda: set(found.desired.triggers) == {"default/one", "default/two"}
                )
                assert not found.desired.held
