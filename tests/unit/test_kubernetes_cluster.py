"""What a mesh reads in a cluster whose API server does what a real one can hardly be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.admin.models import StatusDocument
from broker.connections.kubernetes import mirror
from broker.errors import InvalidManifest, Problem
from broker.kubernetes import cluster as clusters
from broker.kubernetes import kinds
from broker.kubernetes.cluster import Cluster
from broker.kubernetes.statuses import Statuses
from broker.observe.metrics import Metrics
from broker.settings import KubernetesSettings, Settings
from broker.status import MeshStatus
from broker.trigger import Desired
from tests.services.apiserver import ApiServer, Asked
from tests.services.cluster import PLACES, TYPES
from tests.unit.meshes import make_mesh, until

EVENTING = "/apis/eventing.knative.dev/v1"
TO = {"subscriber": {"uri": "http://there.example/"}}
GUARDED = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: %s, annotations: {cemesh.dev/access: %s}}
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(kinds, "_LOOKS_EVERY", 0.02)
    monkeypatch.setattr(kinds, "_LOOKS_AGAIN_AFTER", 0.02)
    monkeypatch.setattr(clusters, "_LOOKS_EVERY", 0.02)
    monkeypatch.setattr(clusters, "_ASKS_AGAIN_AFTER", 0.02)
    monkeypatch.setattr(clusters, "_STILL", 0.02)


def serve(monkeypatch: pytest.MonkeyPatch, *served: str) -> None:
    """Let the API servers of this test have these kinds, by their plurals, beside its own."""
    named = {"brokers": ("Broker", True), "triggers": ("Trigger", True)}
    types = {plural: named[plural] for plural in served}
    for plural in (*types, *(["secrets"] if "secrets" not in PLACES else [])):
        monkeypatch.setitem(PLACES, plural, EVENTING if plural in named else "/api/v1")
    core = {**TYPES["/api/v1"], "secrets": ("Secret", True)}
    monkeypatch.setitem(TYPES, "/api/v1", core)
    monkeypatch.setitem(TYPES, EVENTING, types)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    serve(monkeypatch, "brokers", "triggers")
    async with ApiServer() as found:
        yield found


def refuse_nothing(_: Desired) -> Sequence[Problem]:
    return ()


def a_cluster(server: ApiServer, folder: Path, *paths: Path, left: tuple[str, ...] = ()) -> Cluster:
    kubernetes = KubernetesSettings(kubeconfig=server.kubeconfig(folder), left=left)
    return Cluster(Settings(paths=paths, kubernetes=kubernetes), refuse=refuse_nothing)


@asynccontextmanager
async def loading(cluster: Cluster) -> AsyncIterator[asyncio.Task[Desired]]:
    """Load, for as long as it takes."""

    async def load() -> Desired:
        return (await cluster.load()).desired

    task = asyncio.create_task(load())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def told(caplog: pytest.LogCaptureFixture, message: str) -> list[str]:
    return [getattr(each, "why", "") for each in caplog.records if each.message == message]


async def test_brokers_are_not_run_without_the_kind_of_their_triggers(
    server: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.put("brokers", "default", spec={})
    server.put("triggers", "one", spec={"broker": "default", **TO})
    serve(monkeypatch, "brokers")
    async with a_cluster(server, tmp_path) as cluster, loading(cluster) as task:
        await until(lambda: bool(told(caplog, "waiting for the cluster")))
        assert not task.done()
        serve(monkeypatch, "brokers", "triggers")
        desired = await asyncio.wait_for(task, 30)

    assert set(desired.triggers) == {"default/one"}
    [why] = told(caplog, "waiting for the cluster")
    assert why.startswith("the API server has Brokers and no Triggers")


async def test_kinds_that_come_later_are_read_then_and_brokers_not_before_their_triggers(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("brokers", "default", spec={})
    server.put("triggers", "one", spec={"broker": "default", **TO})
    serve(monkeypatch)
    async with a_cluster(server, tmp_path) as cluster:
        assert (await cluster.load()).desired == Desired()
        server.forbidden = {"triggers"}
        serve(monkeypatch, "brokers", "triggers")
        await until(lambda: {each.plural for each in server.watches} == {"brokers"})
        assert (await cluster.load()).desired == Desired()

        server.forbidden = set()
        desired = Desired()
        async for _ in cluster.changes():
            desired = (await cluster.load()).desired
            if desired.brokers:
                break
    assert set(desired.triggers) == {"default/one"}


async def test_objects_of_a_kind_that_is_not_served_any_more_run_on(
    server: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "cemesh.kubernetes")
    server.put("brokers", "default", spec={})
    server.put("triggers", "one", spec={"broker": "default", **TO})
    async with a_cluster(server, tmp_path) as cluster:
        await cluster.load()
        monkeypatch.delitem(PLACES, "triggers")
        server.end_watches()
        await until(lambda: bool(told(caplog, "kind is no longer served")))
        server.put("brokers", "another", spec={})
        desired = (await cluster.load()).desired
        assert set(desired.triggers) == {"default/one"}
        assert len(told(caplog, "kind is no longer served")) == 1
        assert cluster.unfollowed()

        monkeypatch.setitem(PLACES, "triggers", EVENTING)
        await until(lambda: not cluster.unfollowed())
        assert "cluster followed again" in caplog.messages


async def test_an_outage_is_told_once(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_cluster(server, tmp_path) as cluster:
        await cluster.load()
        await until(lambda: len(server.watches) == 2)
        await server.down()
        await until(lambda: bool(cluster.unfollowed()))
        await asyncio.sleep(0)
        await server.listen()
        await until(lambda: not cluster.unfollowed())

    why = told(caplog, "cluster not followed")
    assert len(why) == len(set(why)) > 0


async def test_a_running_mesh_does_not_wait_for_long_for_what_it_needs_anew(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_ANSWERS_WITHIN", 0.1)
    manifest = tmp_path / "mesh.yaml"
    manifest.write_text(GUARDED % ("one", "clients"))
    server.put("secrets", "clients", data={"till": "c2VzYW1l"})
    server.put("secrets", "others", data={"till": "c2VzYW1l"})
    async with a_cluster(server, tmp_path, manifest) as cluster:
        assert set((await cluster.load()).desired.brokers) == {"default/one"}
        await server.down()
        manifest.write_text(GUARDED % ("one", "others"))

        with pytest.raises(InvalidManifest) as refused:
            await cluster.load()
        assert "no Secret 'default/others' in this cluster" in str(refused.value)
        assert "; the API server at " in str(refused.value)

        await server.listen()
        async for _ in cluster.changes():
            if set((await cluster.load()).desired.brokers) == {"default/one"}:
                break


async def test_what_is_not_needed_any_more_is_not_watched_any_more(
    server: ApiServer, tmp_path: Path
) -> None:
    def watched() -> set[str]:
        return {each.plural for each in server.watches}

    manifest = tmp_path / "mesh.yaml"
    manifest.write_text(GUARDED % ("one", "clients"))
    server.put("secrets", "clients", data={"till": "c2VzYW1l"})
    async with a_cluster(server, tmp_path, manifest) as cluster:
        await cluster.load()
        await until(lambda: watched() == {"brokers", "triggers", "secrets"})
        manifest.write_text(
            GUARDED.replace("cemesh.dev/access", "tests.example/of-others") % ("one", "x")
        )
        await cluster.load()
        await until(lambda: watched() == {"brokers", "triggers"})


async def test_files_that_cannot_be_read_take_nothing_from_what_is_known(
    server: ApiServer, tmp_path: Path
) -> None:
    manifest = tmp_path / "mesh.yaml"
    manifest.write_text(GUARDED % ("one", "clients"))
    server.put("secrets", "clients", data={"till": "c2VzYW1l"})
    async with a_cluster(server, tmp_path, manifest) as cluster:
        await cluster.load()
        text = manifest.read_text()
        manifest.write_text("{")
        with pytest.raises(InvalidManifest):
            await cluster.load()
        await server.down()
        manifest.write_text(text)

        assert set((await cluster.load()).desired.brokers) == {"default/one"}


async def test_kinds_that_are_left_to_others_are_not_asked_for(
    server: ApiServer, tmp_path: Path
) -> None:
    server.put("brokers", "default", spec={})
    server.put("triggers", "one", spec={"broker": "default", **TO})
    async with a_cluster(server, tmp_path, left=("Trigger",)) as cluster:
        desired = (await cluster.load()).desired

    assert (set(desired.brokers), set(desired.triggers)) == ({"default/default"}, set())
    assert not any(each.path.endswith("/triggers") for each in server.asked)


async def test_many_changes_at_once_are_one(server: ApiServer, tmp_path: Path) -> None:
    async with a_cluster(server, tmp_path) as cluster:
        await cluster.load()
        await until(lambda: len(server.watches) == 2)
        changes = cluster.changes()
        for number in range(200):
            server.put("brokers", f"b{number}", spec={})
        await anext(changes)
        found = await cluster.load()
        while len(found.desired.brokers) < 200:
            await anext(changes)
            found = await cluster.load()
        another = asyncio.ensure_future(anext(changes))
        await until(lambda: len(server.watches) == 2)
        assert not another.done()
        another.cancel()
        await asyncio.wait([another])


async def test_a_fault_of_the_mesh_is_not_silent(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = a_cluster(server, tmp_path)

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    async def follow() -> None:
        async with cluster:
            await cluster.load()
            monkeypatch.setattr(mirror.Mirror, "_take", fails)
            server.put("brokers", "default", spec={})
            await anext(cluster.changes())

    with pytest.raises(ExceptionGroup):
        await follow()


@pytest.mark.parametrize(
    ("unfollowed", "line", "told"),
    [
        (None, None, []),
        ([], b"\ncemesh_kubernetes_synced 1.0\n", []),
        (["it is away"], b"\ncemesh_kubernetes_synced 0.0\n", ["it is away"]),
    ],
)
def test_metrics_and_status_tell_whether_a_cluster_is_followed(
    unfollowed: list[str] | None, line: bytes | None, told: list[str]
) -> None:
    status = MeshStatus(brokers=(), sources=(), problems=(), unfollowed=unfollowed)

    scrape = Metrics().scrape(status)()
    assert (line or b"") in scrape
    assert (b"cemesh_kubernetes_synced" in scrape) is (line is not None)
    problems = [each.message for each in StatusDocument.of(status).problems]
    assert problems == [f"is not followed: {each}" for each in told]


async def test_that_nobody_knows_us_any_more_is_told_once_for_all_kinds(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_cluster(server, tmp_path) as cluster:
        await cluster.load()
        server.token, server.asked = "another", []
        server.end_watches()
        await until(
            lambda: all(
                [each.path for each in server.asked].count(f"{EVENTING}/{plural}") > 4
                for plural in ("brokers", "triggers")
            )
        )
        [why] = cluster.unfollowed()
    assert why.startswith("the API server answers 401: Unauthorized; ")
    assert told(caplog, "cluster not followed") == [why]


class Stuck(ApiServer):
    """Never answers what is asked of one group, as where that is somebody else's server."""

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if asked.path == STUCK:
            await reader.read()
        await super()._answer(asked, reader, writer)


STUCK = "/apis/stuck.example/v1"
TO_STUCK = {"ref": {"apiVersion": "stuck.example/v1", "kind": "Thing", "name": "thing"}}


async def test_an_api_that_does_not_answer_keeps_nothing_from_running_but_who_refers_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, "brokers", "triggers")
    monkeypatch.setattr(clusters, "_ANSWERS_AT_FIRST", 0.1)
    monkeypatch.setattr(clusters, "_ANSWERS_WITHIN", 0.1)
    async with Stuck() as server:
        server.put("brokers", "default", spec={})
        server.put("triggers", "one", spec={"broker": "default", **TO})
        server.put("triggers", "stuck", spec={"broker": "default", "subscriber": TO_STUCK})
        async with a_cluster(server, tmp_path) as cluster:
            first = (await cluster.load()).desired
            for name in ("another", "more"):
                to = {"ref": {**TO_STUCK["ref"], "name": name}}
                server.put("triggers", name, spec={"broker": "default", "subscriber": to})
            server.put("triggers", "two", spec={"broker": "default", **TO})
            desired = first
            async for _ in cluster.changes():
                desired = (await cluster.load()).desired
                if "default/two" in desired.triggers:
                    break
    assert set(first.triggers) == {"default/one"}
    assert first.held == {"default/stuck"}
    assert set(desired.triggers) == {"default/one", "default/two"}
    assert desired.held == {"default/stuck", "default/another", "default/more"}


async def test_which_kinds_there_are_is_asked_once_for_all_that_is_referred_to(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_LOOKS_EVERY", 60)
    server.put("brokers", "default", spec={})
    for name in ("one", "two", "three"):
        to = {"ref": {**TO_STUCK["ref"], "name": name}}
        server.put("triggers", name, spec={"broker": "default", "subscriber": to})
    async with a_cluster(server, tmp_path) as cluster:
        desired = (await cluster.load()).desired
    assert len(desired.held) == 3
    assert [each.path for each in server.asked].count(STUCK) == 1


async def test_a_fault_in_telling_statuses_stops_nothing_else(
    server: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = 0

    async def run(_: Statuses) -> None:
        nonlocal runs
        runs += 1
        raise RuntimeError("a fault")

    monkeypatch.setattr(Statuses, "run", run)
    monkeypatch.setattr(clusters, "_TELLS_AGAIN_AFTER", 0.01)
    server.put("brokers", "default", spec={})
    async with a_cluster(server, tmp_path) as cluster:
        await cluster.load()
        async with make_mesh() as mesh, cluster.told(mesh):
            await until(lambda: runs > 1)
            server.put("brokers", "another", spec={})
            async for _ in cluster.changes():
                break
            assert set((await cluster.load()).desired.brokers) == {
                "default/default",
                "default/another",
            }
    assert "statuses failed" in caplog.messages


# --- what is nested without end --------------------------------------------------------------


@pytest.mark.parametrize("depth", [200, 600, 900, 5_000])
async def test_an_object_that_is_nested_too_deep_is_wrong_by_itself(
    server: ApiServer, tmp_path: Path, depth: int
) -> None:
    server.written["deep"] = b'{"not":' * depth + b"{}" + b"}" * depth
    server.put("brokers", "default", spec={})
    server.put("triggers", "listed", spec={"broker": "default", "filters": ["deep"], **TO})
    server.put("triggers", "one", spec={"broker": "default", **TO})
    async with a_cluster(server, tmp_path) as cluster:
        loaded = await cluster.load()
        assert set(loaded.desired.triggers) == {"default/one"}
        server.put("triggers", "watched", spec={"broker": "default", "filters": ["deep"], **TO})
        server.put("triggers", "two", spec={"broker": "default", **TO})
        async for _ in cluster.changes():
            loaded = await cluster.load()
            if "default/two" in loaded.desired.triggers:
                break

    assert set(loaded.desired.triggers) == {"default/one", "default/two"}
    assert loaded.desired.held == {"default/listed", "default/watched"}
