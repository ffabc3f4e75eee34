"""ApiServerSource on a real API server, and what every source promises there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from broker.connections.kubernetes import api
from broker.connections.kubernetes.access import in_cluster
from broker.event import Event
from cemesh.testing import RunningSource, running
from cemesh.testing.contract.sources import *  # noqa: F403 - the suite, as its users take it
from cemesh.testing.contract.sources import Upstream
from sources.apiserver import ApiServerSource, ApiServerSpec, following, source
from tests.services.kubernetes.asking import Refused
from tests.services.kubernetes.client import Kubernetes
from tests.services.kubernetes.server import KubernetesServer
from tests.services.relay import Relay

Object = dict[str, Any]

CONFIGMAPS = {"apiVersion": "v1", "kind": "ConfigMap"}
PODS = {"apiVersion": "v1", "kind": "Pod"}
POD_TEMPLATES = {"apiVersion": "v1", "kind": "PodTemplate"}
"""The kind whose versions the API server forgets as soon as its etcd does."""

READ = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_SAVES_EVERY", 0.0)
    monkeypatch.setattr(source, "_LOOKS_FOR_NAMESPACES_EVERY", 0.05)
    monkeypatch.setattr(following, "_WATCHES_AGAIN_AFTER", 0.02)


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    return kubernetes.namespace()


def follow(
    kubeconfig: Path, namespace: str, *resources: object, **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source on config maps, unless told otherwise, with their whole content."""
    asked = {
        "resources": resources or [CONFIGMAPS],
        "mode": "Resource",
        "kubeconfig": str(kubeconfig),
        **spec,
    }
    model = ApiServerSpec.model_validate_json(json.dumps(asked))
    return running(ApiServerSource, model, name="objects", namespace=namespace)


def config_map(name: str, labels: Mapping[str, str] | None = None, **data: str) -> Object:
    return {**CONFIGMAPS, "metadata": {"name": name, "labels": labels}, "data": data}


def pod(image: str = "example.com/main") -> Object:
    return {"containers": [{"name": "main", "image": image}]}


def pod_template(name: str, image: str = "example.com/main") -> Object:
    return {**POD_TEMPLATES, "metadata": {"name": name}, "template": {"spec": pod(image)}}


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Return of each event what became of what."""
    return [(each.type.rpartition(".")[2], each.attributes["name"]) for each in events]


# --- what every source promises --------------------------------------------------------------


class ObjectsOfARealCluster:
    """A namespace that gets an object for each thing."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._namespace = kubernetes.namespace()
        # The label that every namespace has.
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}}
        self.source: object = ApiServerSource
        self.spec: object = ApiServerSpec.model_validate(
            {
                "resources": [CONFIGMAPS],
                "mode": "Resource",
                "kubeconfig": str(kubernetes.kubeconfig()),
                "namespaceSelector": selector,
            }
        )

    async def bring(self, number: int) -> None:
        thing = config_map(f"thing-{number}", number=str(number))
        await asyncio.to_thread(self._kubernetes.apply, thing, self._namespace)

    def number_of(self, event: Event) -> int:
        return int(json.loads(event.data or b"")["data"]["number"])


@pytest.fixture
def upstream(kubernetes: Kubernetes) -> Upstream:
    return ObjectsOfARealCluster(kubernetes)


# --- what is emitted -------------------------------------------------------------------------


async def test_what_becomes_of_an_object_is_told_with_all_of_it(
    kubernetes: Kubernetes, namespace: str
) -> None:
    [listed] = kubernetes.apply(config_map("one", n="1"), namespace)
    async with follow(kubernetes.kubeconfig(), namespace) as run:
        [added] = await run.events(1)
        await run.until("running")
        [changed] = kubernetes.apply(config_map("one", n="2"), namespace)
        kubernetes.delete("ConfigMap", "one", namespace)
        [updated, deleted] = await run.events(2)

    meta = listed["metadata"]
    assert added.attributes == {
        "specversion": "1.0",
        "id": f"{meta['uid']}/{meta['resourceVersion']}/add",
        "source": kubernetes.url,
        "type": "dev.knative.apiserver.resource.add",
        "subject": f"/apis/v1/namespaces/{namespace}/configmaps/one",
        "time": meta["creationTimestamp"],
        "datacontenttype": "application/json",
        "apiversion": "v1",
        "kind": "ConfigMap",
        "name": "one",
        "namespace": namespace,
    }
    assert json.loads(added.data or b"") == listed
    assert updated.type == "dev.knative.apiserver.resource.update"
    assert json.loads(updated.data or b"") == changed
    assert deleted.type == "dev.knative.apiserver.resource.delete"
    gone = json.loads(deleted.data or b"")
    assert (gone["metadata"]["uid"], gone["data"]) == (meta["uid"], {"n": "2"})
    assert len({added.id, updated.id, deleted.id}) == 3


async def test_kinds_of_a_definition_and_of_the_whole_cluster_are_told_by_reference(
    kubernetes: Kubernetes, namespace: str
) -> None:
    group = f"{namespace}.example.com"
    open_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    kubernetes.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"orders.{group}"},
            "spec": {
                "group": group,
                "scope": "Cluster",
                "names": {"plural": "orders", "kind": "Order"},
                "versions": [{**version, "schema": {"openAPIV3Schema": open_schema}}],
            },
        }
    )
    orders = {"apiVersion": f"{group}/v1", "kind": "Order"}
    kubernetes.apply({**orders, "metadata": {"name": "first"}})
    kubernetes.apply(config_map("one"), namespace)
    async with follow(
        kubernetes.kubeconfig(), namespace, orders, CONFIGMAPS, mode="Reference"
    ) as run:
        events = {each.attributes["kind"]: each for each in await run.events(2)}
        await run.until("running")

    assert {each.type for each in events.values()} == {"dev.knative.apiserver.ref.add"}
    assert events["Order"].attributes["subject"] == f"/apis/{group}/v1/orders/first"
    assert json.loads(events["Order"].data or b"") == {
        "kind": "Order",
        "name": "first",
        "apiVersion": f"{group}/v1",
    }
    assert json.loads(events["ConfigMap"].data or b"") == {
        "kind": "ConfigMap",
        "namespace": namespace,
        "name": "one",
        "apiVersion": "v1",
    }


async def test_a_selector_and_an_owner_choose_what_is_told(
    kubernetes: Kubernetes, namespace: str
) -> None:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "r",
        "uid": "0",
        "controller": True,
    }

    def put(name: str, app: str, **changed: object) -> None:
        meta = {"name": name, "labels": {"app": app}, "ownerReferences": [{**owner, **changed}]}
        kubernetes.apply({**PODS, "metadata": meta, "spec": pod()}, namespace)

    put("right", "shop")
    put("other-label", "x")
    put("not-controlled", "shop", controller=False)
    pods = {
        **PODS,
        "selector": {
            "matchExpressions": [{"key": "app", "operator": "In", "values": ["shop", "y"]}]
        },
    }
    async with follow(
        kubernetes.kubeconfig(),
        namespace,
        pods,
        owner={"apiVersion": "apps/v1", "kind": "ReplicaSet"},
    ) as run:
        assert told(await run.events(1)) == [("add", "right")]
        await run.until("running")
        put("right", "x")
        put("other-label", "y")

        assert told(await run.events(2)) == [("delete", "right"), ("add", "other-label")]


async def test_namespaces_are_followed_while_they_have_the_labels(
    kubernetes: Kubernetes, namespace: str
) -> None:
    team = {"team": namespace}
    blue, red = kubernetes.namespace(team), kubernetes.namespace()
    for each in (blue, red):
        kubernetes.apply(config_map("one"), each)
    selector = {"matchLabels": team}
    async with follow(kubernetes.kubeconfig(), namespace, namespaceSelector=selector) as run:
        [first] = await run.events(1)
        await run.until("running")
        kubernetes.patch("Namespace", red, None, {"metadata": {"labels": team}})
        [second] = await run.events(1)
        kubernetes.patch("Namespace", blue, None, {"metadata": {"labels": {"team": None}}})
        kubernetes.patch("Namespace", blue, None, {"metadata": {"labels": team}})

    assert [each.attributes["namespace"] for each in (first, second)] == [blue, red]


async def test_an_object_as_large_as_there_can_be_is_told_as_it_is(
    kubernetes: Kubernetes, namespace: str
) -> None:
    text = "€" * (900_000 // 3)
    async with follow(kubernetes.kubeconfig(), namespace) as run:
        await run.until("running")
        kubernetes.create(config_map("large", text=text), namespace)
        [added] = await run.events(1)
        await run.stop()
        kubernetes.patch("ConfigMap", "large", namespace, {"data": {"more": "1"}})
        run.start()
        [updated] = await run.events(1)

    assert json.loads(added.data or b"")["data"] == {"text": text}
    assert json.loads(updated.data or b"")["data"] == {"text": text, "more": "1"}


# --- lists and watches -----------------------------------------------------------------------


async def test_a_list_is_read_page_by_page(
    kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_PAGE", 3)
    for number in range(8):
        kubernetes.apply(config_map(f"{number}"), namespace)
    async with follow(kubernetes.kubeconfig(), namespace) as run:
        events = await run.events(8)
        await run.until("running")
        kubernetes.apply(config_map("last"), namespace)
        [last] = await run.events(1)

    assert told([*events, last]) == [("add", each) for each in [*map(str, range(8)), "last"]]


async def test_a_list_that_is_too_old_amid_it_is_read_anew_and_tells_nothing_twice(
    kubernetes: Kubernetes,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(api, "_PAGE", 2)
    for number in range(4):
        kubernetes.apply(pod_template(f"{number}"), namespace)
    pages: list[object] = []
    page = api.page

    async def compacting(*arguments: object) -> api.Page:
        pages.append(None)
        found = await page(*arguments)  # type: ignore[arg-type]  # which are handed on
        pages[-1] = found
        if len(pages) == 1:
            kubernetes.apply(pod_template("0", "example.com/changed"), namespace)
            kubernetes.compact()
        return found

    monkeypatch.setattr(api, "page", compacting)
    async with follow(kubernetes.kubeconfig(), namespace, POD_TEMPLATES) as run:
        events = await run.events(5)
        await run.until("running")
        kubernetes.apply(pod_template("last"), namespace)
        events += await run.events(1)

    added = [("add", str(each)) for each in range(4)]
    assert told(events) == [*added[:2], ("update", "0"), *added[2:], ("add", "last")]
    assert pages[1] is None, "nothing was too old"
    assert "source interrupted" not in caplog.messages


async def test_watches_that_the_server_ends_lose_nothing_and_tell_nothing_twice(
    kubernetes: Kubernetes,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(api, "_WATCHES_FOR", 1)
    begun: list[str] = []
    watch = api.watch

    def counted(*arguments: object) -> object:
        begun.append(str(arguments[2]))
        return watch(*arguments)  # type: ignore[arg-type]  # which are handed on

    monkeypatch.setattr(api, "watch", counted)
    names: list[str] = []
    async with follow(kubernetes.kubeconfig(), namespace) as run:
        while len(begun) < 3:
            names.append(str(len(names)))
            await asyncio.to_thread(kubernetes.apply, config_map(names[-1]), namespace)
            await asyncio.sleep(0.1)
        events = await run.events(len(names))

    assert told(events) == [("add", each) for each in names]
    assert len({*begun}) > 1
    assert "source interrupted" not in caplog.messages


async def test_after_a_place_that_is_gone_only_the_differences_are_told(
    kubernetes: Kubernetes, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    for each in ("same", "changed", "deleted", "replaced"):
        kubernetes.apply(pod_template(each), namespace)
    async with follow(kubernetes.kubeconfig(), namespace, POD_TEMPLATES) as run:
        await run.events(4)
        await run.until("running")
        await run.stop()
        kubernetes.apply(pod_template("changed", "example.com/changed"), namespace)
        kubernetes.delete("PodTemplate", "deleted", namespace)
        kubernetes.delete("PodTemplate", "replaced", namespace)
        kubernetes.apply(pod_template("replaced"), namespace)
        kubernetes.apply(pod_template("new"), namespace)
        kubernetes.compact()
        run.start()
        events = await run.events(5)
        await run.until("running")
        kubernetes.apply(pod_template("last"), namespace)
        events += await run.events(1)

    assert sorted(told(events)) == sorted(
        [
            ("update", "changed"),
            ("delete", "replaced"),
            ("add", "replaced"),
            ("add", "new"),
            ("delete", "deleted"),
            ("add", "last"),
        ]
    )
    assert "source interrupted" not in caplog.messages


async def test_what_happens_beside_a_connection_that_is_cut_is_told_also_after_it_is_forgotten(
    kubernetes: Kubernetes, namespace: str, kubernetes_relay: Relay
) -> None:
    kubernetes.apply(pod_template("one"), namespace)
    way = kubernetes.kubeconfig(url=kubernetes_relay.in_url(kubernetes.url))
    async with follow(way, namespace, POD_TEMPLATES) as run:
        await run.events(1)
        await run.until("running")
        with kubernetes_relay.cut():
            status = await run.until("unhealthy")
            kubernetes.delete("PodTemplate", "one", namespace)
            kubernetes.apply(pod_template("two"), namespace)
            kubernetes.compact()
        events = await run.events(2)
        await run.until("running")

    assert sorted(told(events)) == [("add", "two"), ("delete", "one")]
    assert kubernetes_relay.address in (status.error or "")


async def test_of_what_a_server_took_before_and_after_it_was_killed_nothing_is_lost(
    kubernetes_server: KubernetesServer,
) -> None:
    names = [str(number) for number in range(60)]

    def write() -> None:
        """Put them there, each as soon as the server takes it."""
        deadline = time.monotonic() + 60
        waiting = list(reversed(names))
        while waiting:
            try:
                server.api.apply(config_map(waiting[-1]), namespace)
            except (OSError, HTTPException, Refused):
                assert time.monotonic() < deadline, "the server does not come back"
                time.sleep(0.05)
            else:
                waiting.pop()

    with kubernetes_server as server:
        namespace = server.api.namespace()
        server.api.apply(config_map("deleted"), namespace)
        async with follow(server.api.kubeconfig(), namespace) as run:
            await run.events(1)
            await run.until("running")
            server.api.delete("ConfigMap", "deleted", namespace)
            writing = asyncio.create_task(asyncio.to_thread(write))
            events = await run.events(20)
            server.kill()
            status = await run.until("unhealthy")
            await asyncio.to_thread(server.start)
            await writing
            while len(set(told(events))) < 61:
                events += await run.events(1)
            await run.until("running")

    assert set(told(events)) == {("delete", "deleted"), *(("add", each) for each in names)}
    assert len({each.id for each in events}) == 61
    assert f"the API server at {server.place.url}" in (status.error or "")


# --- access ----------------------------------------------------------------------------------


async def test_in_a_cluster_it_is_who_its_pod_is_until_that_account_is_another(
    kubernetes: Kubernetes,
    namespace: str,
    kubernetes_relay: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = f"{namespace}/pod"
    (tmp_path / "ca.crt").write_bytes(kubernetes.place.authority.read_bytes())
    (tmp_path / "token").write_text(kubernetes.token(user))
    kubernetes.allow(user, READ, namespaces=[namespace])
    host, _, port = kubernetes_relay.address.rpartition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(source, "in_cluster", lambda: in_cluster(tmp_path))
    spec = ApiServerSpec.model_validate({"resources": [CONFIGMAPS]})
    async with running(ApiServerSource, spec, namespace=namespace) as run:
        await run.until("running")
        kubernetes.delete("ServiceAccount", "pod", namespace)
        with kubernetes_relay.cut():
            kubernetes.apply(config_map("one"), namespace)
        async with asyncio.timeout(30):
            while "answers 401" not in (run.status.error or ""):
                await asyncio.sleep(0.01)
        (tmp_path / "token").write_text(kubernetes.token(user))

        assert told(await run.events(1)) == [("add", "one")]
        await run.until("running")


async def test_a_token_that_has_expired_is_told_of_until_there_is_another_in_its_file(
    kubernetes: Kubernetes, namespace: str, kubernetes_relay: Relay
) -> None:
    user = f"{namespace}/watcher"
    way = kubernetes.kubeconfig(user, url=kubernetes_relay.in_url(kubernetes.url))
    kubernetes.allow(user, READ, namespaces=[namespace])
    token = way.with_suffix(".token")
    async with follow(way, namespace) as run:
        await run.until("running")
        token.write_text(kubernetes.expired_token(user))
        with kubernetes_relay.cut():  # a watch goes on, whatever becomes of its token
            kubernetes.apply(config_map("one"), namespace)
        async with asyncio.timeout(30):
            while "answers 401" not in (run.status.error or ""):
                await asyncio.sleep(0.01)
        status = run.status
        token.write_text(kubernetes.token(user))

        assert told(await run.events(1)) == [("add", "one")]
        await run.until("running")
    assert "answers 401: Unauthorized; the token or the certificate is not" in (status.error or "")


@pytest.mark.parametrize("everywhere", [False, True])
async def test_the_rule_that_a_refusal_asks_for_is_all_that_it_takes(
    kubernetes: Kubernetes, namespace: str, everywhere: bool
) -> None:
    user = f"{namespace}/watcher"
    selector: Mapping[str, object] = {"namespaceSelector": {}} if everywhere else {}
    kubernetes.apply(config_map(namespace), namespace)
    by_name = [{"prefix": {"name": namespace}}]
    async with follow(kubernetes.kubeconfig(user), namespace, filters=by_name, **selector) as run:
        status = await run.until("unhealthy")
        kubernetes.allow(user, READ, namespaces=None if everywhere else [namespace])

        assert told(await run.events(1)) == [("add", namespace)]
        await run.until("running")
    where = "a ClusterRole" if everywhere else f"a Role of the namespace '{namespace}'"
    within = "at the cluster scope" if everywhere else f'in the namespace "{namespace}"'
    assert status.error == (
        "reading configmaps: the API server answers 403: configmaps is forbidden: User "
        f'"system:serviceaccount:{namespace}:watcher" cannot list resource "configmaps" in API '
        f'group "" {within}; it takes {where} with the rule apiGroups [""], resources '
        '["configmaps"], verbs ["get", "list", "watch"], bound to whom cemesh runs as'
    )
