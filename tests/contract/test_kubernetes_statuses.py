"""Statuses on a real API server: what is written, by whom, and what is not."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.connections.kubernetes.collections import Object
from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.kubernetes import statuses, writing
from broker.kubernetes.fates import DELIVERING
from broker.settings import Part
from broker.status import MeshStatus
from broker.trigger import Desired
from tests.chart.definitions import define
from tests.contract.cluster_mesh import (
    ADDRESS,
    BROKERS,
    LEASE,
    SINKS,
    SOURCES,
    condition,
    in_namespace,
    rules,
    running,
    truth,
    until,
)
from tests.services.kubernetes.client import Kubernetes
from tests.services.relay import Relay

LEASES = "coordination.k8s.io/v1"
NARROW: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "narrows.tests.cemesh.dev"},
    "spec": {
        "group": "tests.cemesh.dev",
        "scope": "Namespaced",
        "names": {"kind": "Narrow", "plural": "narrows", "singular": "narrow"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "status": {
                                "type": "object",
                                "properties": {"kept": {"type": "string"}},
                            }
                        },
                    }
                },
            }
        ],
    },
}
"""A kind whose status has room for one field."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "_EVERY", 0.05)
    monkeypatch.setattr(statuses, "_SHARE", 1)
    monkeypatch.setattr(statuses, "_LONGEST_PAUSE", 0.2)


@pytest.fixture(scope="module")
def cluster(kubernetes: Kubernetes) -> Kubernetes:
    """Return the shared API server, which knows the mesh's kinds."""
    define(kubernetes)
    return kubernetes


@pytest.fixture
def namespace(cluster: Kubernetes) -> str:
    return cluster.namespace()


def broker(name: str = "orders", **spec: object) -> Object:
    return {"apiVersion": BROKERS, "kind": "Broker", "metadata": {"name": name}, "spec": spec}


def trigger(name: str = "audit", **spec: object) -> Object:
    given = {"broker": "orders", "subscriber": {"uri": "https://example.com/audit"}, **spec}
    return {"apiVersion": BROKERS, "kind": "Trigger", "metadata": {"name": name}, "spec": given}


async def told(
    cluster: Kubernetes, namespace: str, found: Object, ready: str, *, generation: int = 1
) -> Object:
    """Return the object once its status is about that generation of it, and its Ready is that."""

    def is_told(found: Object | None) -> bool:
        status = (found or {}).get("status") or {}
        return status.get("observedGeneration") == generation and truth(found) == ready

    seen = await until(lambda: look(cluster, namespace, found), is_told)
    assert seen is not None
    return seen


def look(cluster: Kubernetes, namespace: str, found: Object) -> Object | None:
    name = found["metadata"]["name"]
    return cluster.get(found["kind"], name, namespace, api_version=found["apiVersion"])


def generation(found: Object) -> int:
    return int(found["metadata"]["generation"])


# --- what is written -----------------------------------------------------------------------


async def test_what_runs_is_ready_and_says_where_it_is_and_leads(
    cluster: Kubernetes, namespace: str
) -> None:
    ping: Object = {
        "apiVersion": SOURCES,
        "kind": "PingSource",
        "metadata": {"name": "tick"},
        "spec": {
            "schedule": "0 0 1 1 *",
            "sink": {"ref": {"apiVersion": BROKERS, "kind": "Broker", "name": "orders"}},
        },
    }
    sink: Object = {
        "apiVersion": SINKS,
        "kind": "LogSink",
        "metadata": {"name": "log"},
        "spec": {},
    }
    async with running(cluster, namespace):
        for each in (trigger(), broker(), ping, sink):
            cluster.apply(each, namespace)

        of_broker = await told(cluster, namespace, broker(), "True")
        of_trigger = await told(cluster, namespace, trigger(), "True")
        of_source = await told(cluster, namespace, ping, "True")
        await told(cluster, namespace, sink, "True")

    assert of_broker["status"]["address"]["url"] == f"{ADDRESS}/{namespace}/orders"
    assert of_trigger["status"]["subscriberUri"] == "https://example.com/audit"
    assert of_source["status"]["sinkUri"] == f"{ADDRESS}/{namespace}/orders"


async def test_what_is_wrong_is_told_and_so_is_that_it_is_right_again(
    cluster: Kubernetes, namespace: str
) -> None:
    cluster.apply(broker(), namespace)
    async with running(cluster, namespace):
        cluster.apply(trigger(filters=[{"cesql": "type ="}]), namespace)
        wrong = await told(cluster, namespace, trigger(), "False")
        cluster.apply(trigger(filters=[{"cesql": "type = 'a'"}]), namespace)
        right = await told(cluster, namespace, trigger(), "True", generation=2)

    assert condition(wrong, "SubscriptionReady")["message"].startswith("spec.filters[0].cesql: ")
    assert truth(wrong, DELIVERING) == "False"
    assert "subscriberUri" not in wrong["status"]
    assert right["status"]["subscriberUri"] == "https://example.com/audit"


async def test_nothing_is_said_of_a_change_before_the_mesh_runs_it(
    cluster: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (broker(), trigger()):
        cluster.apply(each, namespace)
    changed = trigger(subscriber={"uri": "https://example.com/changed"})
    may_run, looks = asyncio.Event(), 0
    async with running(cluster, namespace) as run:
        await told(cluster, namespace, trigger(), "True")
        apply, status = run.mesh.apply, run.mesh.status

        async def apply_later(desired: Desired) -> None:
            await may_run.wait()
            await apply(desired)

        async def looked_at() -> MeshStatus:
            nonlocal looks
            looks += 1
            return await status()

        monkeypatch.setattr(run.mesh, "apply", apply_later)
        monkeypatch.setattr(run.mesh, "status", looked_at)
        cluster.apply(changed, namespace)
        subject = f"Trigger {namespace}/audit"
        await until(run.objects, lambda found: subject in found and generation(found[subject]) == 2)
        enough = looks + 3
        await until(lambda: looks, lambda looks: looks > enough)
        before = look(cluster, namespace, trigger())
        may_run.set()
        after = await told(cluster, namespace, trigger(), "True", generation=2)

    assert before is not None
    assert (generation(before), before["status"]["observedGeneration"]) == (2, 1)
    assert after["status"]["subscriberUri"] == "https://example.com/changed"


async def test_a_trigger_that_an_operator_pauses_stays_ready(
    cluster: Kubernetes, namespace: str
) -> None:
    for each in (broker(), trigger()):
        cluster.apply(each, namespace)
    async with running(cluster, namespace) as run:
        await told(cluster, namespace, trigger(), "True")
        await run.mesh.pause(f"{namespace}/audit", "holiday")
        found = await until(
            lambda: look(cluster, namespace, trigger()),
            lambda found: truth(found, DELIVERING) == "False",
        )

    assert condition(found, DELIVERING)["message"] == "holiday"
    assert truth(found) == "True"


async def test_a_mesh_that_is_started_again_writes_nothing_that_is_there(
    cluster: Kubernetes, namespace: str
) -> None:
    for each in (broker(), trigger()):
        cluster.apply(each, namespace)
    async with running(cluster, namespace):
        await told(cluster, namespace, broker(), "True")
        before = await told(cluster, namespace, trigger(), "True")

    async with running(cluster, namespace):
        # Once this one is told of, all has been looked at.
        cluster.apply(trigger("last"), namespace)
        await told(cluster, namespace, trigger("last"), "True")

    assert look(cluster, namespace, trigger()) == before


async def test_what_others_write_at_the_same_time_stays(
    cluster: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"type": "Theirs", "status": "True", "reason": "", "message": ""}
    written = [theirs]
    made = writing._patch

    def overtaken(known: Object, status: Object) -> object:
        """Let somebody else write, just before what was made of the former status is sent."""
        while written:
            patch = {"status": {"conditions": [written.pop()], "annotations": {"of": "others"}}}
            cluster.patch(
                "Broker", "orders", namespace, patch, api_version=BROKERS, subresource="status"
            )
        return made(known, status)

    monkeypatch.setattr(writing, "_patch", overtaken)
    async with running(cluster, namespace):
        cluster.apply(broker(), namespace)
        found = await told(cluster, namespace, broker(), "True")

    assert theirs in found["status"]["conditions"]
    assert found["status"]["annotations"] == {"of": "others"}


async def test_each_part_tells_of_what_it_runs(cluster: Kubernetes, namespace: str) -> None:
    for each in (broker(), trigger()):
        cluster.apply(each, namespace)

    async with running(cluster, namespace, parts=frozenset({Part.INGRESS})):
        await told(cluster, namespace, broker(), "True")
        assert "status" not in (look(cluster, namespace, trigger()) or {})
    async with running(cluster, namespace, parts=frozenset({Part.DISPATCHER})):
        await told(cluster, namespace, trigger(), "True")


# --- bad days ------------------------------------------------------------------------------


async def test_what_may_not_be_written_is_said_with_its_rule_and_stops_no_other(
    cluster: Kubernetes, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    allowed = rules(without="triggers/status")
    async with running(cluster, namespace, allowed=allowed):
        for each in (broker(), trigger(), trigger("other")):
            cluster.apply(each, namespace)
        await until(
            lambda: [each for each in caplog.records if each.message == "status not written"], bool
        )
        cluster.apply(broker("second"), namespace)
        await told(cluster, namespace, broker("second"), "True")

    [said] = [each for each in caplog.records if each.message == "status not written"]
    assert 'resources ["triggers/status"], verbs ["patch"]' in said.__dict__["why"]
    assert "status" not in (look(cluster, namespace, trigger()) or {})


async def test_who_may_have_no_lease_writes_nothing_and_says_which_rule_is_missing(
    cluster: Kubernetes, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.apply(broker(), namespace)
    async with running(cluster, namespace, allowed=rules(without="leases")) as run:
        await until(
            lambda: [each for each in caplog.records if each.message == "lease not had"], bool
        )
        await until(run.objects, bool)

    [said] = [each for each in caplog.records if each.message == "lease not had"]
    assert 'apiGroups ["coordination.k8s.io"], resources ["leases"]' in said.__dict__["why"]
    assert "status" not in (look(cluster, namespace, broker()) or {})


async def test_a_server_that_was_away_is_told_when_it_is_there_again(
    cluster: Kubernetes,
    namespace: str,
    kubernetes_relay: Relay,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cemesh.kubernetes")
    cluster.allow(f"{namespace}/mesh", rules(), namespaces=[namespace])
    url = kubernetes_relay.in_url(cluster.url)
    kubeconfig = in_namespace(cluster.kubeconfig(f"{namespace}/mesh", url=url), namespace)
    for each in (broker(), trigger()):
        cluster.apply(each, namespace)
    async with running(cluster, namespace, kubeconfig=kubeconfig) as run:
        await told(cluster, namespace, trigger(), "True")
        with kubernetes_relay.cut():
            await run.mesh.pause(f"{namespace}/audit", "holiday")
            await until(
                lambda: [each for each in caplog.records if "not written" in each.message], bool
            )
        await until(
            lambda: look(cluster, namespace, trigger()),
            lambda found: truth(found, DELIVERING) == "False",
        )
        # A status is there before who wrote it has heard so.
        await until(lambda: "statuses written again" in caplog.messages, bool)

    assert caplog.messages.count("statuses not written") == 1


async def test_many_objects_are_told_of_a_few_at_a_time_brokers_first(
    cluster: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_most = 7
    monkeypatch.setattr(statuses, "AT_MOST", at_most)
    names = [f"t{number}" for number in range(20)]
    for each in names:
        cluster.apply(trigger(each), namespace)
    cluster.apply(broker(), namespace)

    async with running(cluster, namespace):
        found = [await told(cluster, namespace, trigger(each), "True") for each in names]
        first = await told(cluster, namespace, broker(), "True")

    # Those of a round are written beside each other, of which any may be there first.
    its = int(first["metadata"]["resourceVersion"])
    before = [each for each in found if int(each["metadata"]["resourceVersion"]) < its]
    assert len(before) < at_most


async def test_what_a_definition_of_others_has_no_room_for_is_written_once(
    cluster: Kubernetes, namespace: str
) -> None:
    cluster.apply(NARROW)
    narrow: Object = {
        "apiVersion": "tests.cemesh.dev/v1",
        "kind": "Narrow",
        "metadata": {"name": "one"},
    }
    [found] = cluster.apply(narrow, namespace)
    writer = writing.Writer(by_kubeconfig(cluster.kubeconfig()))
    subject = f"Narrow {namespace}/one"
    status = {"kept": "a", "cut": "b"}

    await writer.write([(subject, found)], lambda _: status)
    written = look(cluster, namespace, narrow)

    assert written is not None
    assert written["status"] == {"kept": "a"}
    assert not writer.is_new(subject, written, lambda _: status)
    assert not writer.is_new(subject, found, lambda _: status)
    assert writer.is_new(subject, written, lambda _: {"kept": "b"})


# --- one writer among several --------------------------------------------------------------

HOLDER = Path(__file__).with_name("lease_holder.py")


class Holder:
    """A process that wants the Lease, and says when it works."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._log = log
        command = [sys.executable, "-m", "tests.contract.lease_holder", str(kubeconfig), LEASE]
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    @property
    def said(self) -> list[str]:
        return self._log.read_text().split()

    def signal(self, what: int) -> None:
        os.kill(self._process.pid, what)

    def wait(self) -> int:
        return self._process.wait(timeout=30)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def holders(cluster: Kubernetes, namespace: str, tmp_path: Path) -> Iterator[list[Holder]]:
    user = f"{namespace}/mesh"
    cluster.allow(user, rules(), namespaces=[namespace])
    kubeconfig = in_namespace(cluster.kubeconfig(user), namespace)
    made = [Holder(kubeconfig, tmp_path / f"{number}.log") for number in range(2)]
    yield made
    for each in made:
        each.end()


async def test_one_of_two_processes_works_and_the_other_when_that_is_killed_or_ends(
    cluster: Kubernetes, namespace: str, holders: list[Holder], tmp_path: Path
) -> None:
    await until(lambda: [each.said for each in holders], lambda said: ["begun"] in said)
    [first] = [each for each in holders if each.said]
    [second] = [each for each in holders if each is not first]
    held = cluster.get("Lease", LEASE, namespace, api_version=LEASES)
    assert held is not None

    first.signal(signal.SIGKILL)
    first.wait()
    await until(lambda: second.said, lambda said: said == ["begun"])
    taken = cluster.get("Lease", LEASE, namespace, api_version=LEASES)
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    released = cluster.get("Lease", LEASE, namespace, api_version=LEASES)

    assert taken is not None
    assert taken["spec"]["holderIdentity"] != held["spec"]["holderIdentity"]
    assert taken["spec"]["leaseTransitions"] == held["spec"]["leaseTransitions"] + 1
    assert second.said == ["begun", "ended"]
    assert released is not None
    assert "holderIdentity" not in released["spec"]


async def test_a_process_that_is_cut_off_ends_its_work_before_another_begins(
    cluster: Kubernetes, namespace: str, kubernetes_relay: Relay
) -> None:
    from tests.contract.lease_holder import lease

    user = f"{namespace}/mesh"
    cluster.allow(user, rules(), namespaces=[namespace])
    url = kubernetes_relay.in_url(cluster.url)
    by_relay = lease(in_namespace(cluster.kubeconfig(user, url=url), namespace), LEASE)
    directly = lease(in_namespace(cluster.kubeconfig(user), namespace), LEASE)
    said: list[str] = []
    begun = {name: asyncio.Event() for name in ("one", "other")}

    async def work(name: str) -> None:
        said.append(f"{name} begins")
        begun[name].set()
        try:
            await asyncio.Event().wait()
        finally:
            said.append(f"{name} ends")

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        one = tasks.create_task(by_relay.while_held(lambda: work("one")))
        await begun["one"].wait()
        other = tasks.create_task(directly.while_held(lambda: work("other")))
        with kubernetes_relay.hung():
            await begun["other"].wait()
            one.cancel()
            other.cancel()

    assert said[:3] == ["one begins", "one ends", "other begins"]
