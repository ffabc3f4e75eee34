"""ApiServerSource on an API server that does what the real ones do now and then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import cast

import pytest

from broker.channels.memory_stores import MemoryCheckpoints
from broker.connections.kubernetes import api, client
from broker.connections.kubernetes.access import in_cluster
from broker.event import Event
from broker.ports import Emitter
from cemesh.testing import RunningSource, running
from sources.apiserver import ApiServerSource, ApiServerSpec, following, source
from tests.services.apiserver import TOKEN, ApiServer
from tests.services.certificates import make_certificates
from tests.services.mesh import HOST, free_port
from tests.services.relay import Relay
from tests.services.subscribers import Script, Subscriber, close, endless, hang, raw, reply, reset
from tests.unit.meshes import until

CONFIGMAPS = {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_SAVES_EVERY", 0.0)
    monkeypatch.setattr(source, "_LOOKS_FOR_NAMESPACES_EVERY", 0.05)
    monkeypatch.setattr(following, "_WATCHES_AGAIN_AFTER", 0.02)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def follow(
    server: ApiServer, folder: Path, *resources: object, **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source on config maps, unless told otherwise, with their whole content."""
    asked = {
        "resources": resources or [CONFIGMAPS],
        "mode": "Resource",
        "kubeconfig": str(server.kubeconfig(folder)),
        **spec,
    }
    model = ApiServerSpec.model_validate_json(json.dumps(asked))
    return running(ApiServerSource, model, name="objects")


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Return of each event what became of what."""
    return [(each.type.rpartition(".")[2], each.attributes["name"]) for each in events]


def watched(server: ApiServer) -> set[str | None]:
    """Return the namespaces that are watched."""
    return {each.namespace for each in server.watches}


async def until_watched(server: ApiServer, count: int = 1) -> None:
    await until(lambda: len(server.watches) == count)


# --- what is emitted -------------------------------------------------------------------------


async def test_what_becomes_of_an_object_is_told_with_all_of_it(
    server: ApiServer, folder: Path
) -> None:
    listed = server.put("configmaps", "one", data={"n": "1"})
    async with follow(server, folder) as run:
        [added] = await run.events(1)
        await until_watched(server)
        changed = server.put("configmaps", "one", data={"n": "2"})
        gone = server.delete("configmaps", "one")
        [updated, deleted] = await run.events(2)

    uid, version = listed["metadata"]["uid"], listed["metadata"]["resourceVersion"]
    assert added.attributes == {
        "specversion": "1.0",
        "id": f"{uid}/{version}/add",
        "source": server.url,
        "type": "dev.knative.apiserver.resource.add",
        "subject": "/apis/v1/namespaces/default/configmaps/one",
        "time": "2026-03-01T02:00:00Z",
        "datacontenttype": "application/json",
        "apiversion": "v1",
        "kind": "ConfigMap",
        "name": "one",
        "namespace": "default",
    }
    assert json.loads(added.data or b"") == listed
    assert updated.type == "dev.knative.apiserver.resource.update"
    assert json.loads(updated.data or b"") == changed
    assert deleted.type == "dev.knative.apiserver.resource.delete"
    assert json.loads(deleted.data or b"")["metadata"]["uid"] == gone["metadata"]["uid"]
    assert len({added.id, updated.id, deleted.id}) == 3


async def test_by_reference_only_what_it_is_is_told(server: ApiServer, folder: Path) -> None:
    server.put("configmaps", "one", data={"n": "1"})
    async with follow(server, folder, mode="Reference") as run:
        [event] = await run.events(1)

    assert event.type == "dev.knative.apiserver.ref.add"
    assert json.loads(event.data or b"") == {
        "kind": "ConfigMap",
        "namespace": "default",
        "name": "one",
        "apiVersion": "v1",
    }


async def test_several_resources_are_followed_and_those_of_the_cluster_too(
    server: ApiServer, folder: Path
) -> None:
    server.put("configmaps", "one")
    server.put("configmaps", "elsewhere", namespace="other")
    server.put("nodes", "machine")
    server.put("deployments", "shop")
    resources = [
        CONFIGMAPS,
        {"apiVersion": "v1", "kind": "Node"},
        {"apiVersion": "apps/v1", "kind": "Deployment"},
    ]
    async with follow(server, folder, *resources) as run:
        events = await run.events(3)
        await run.until("running")

    assert {each.attributes["subject"] for each in events} == {
        "/apis/v1/namespaces/default/configmaps/one",
        "/apis/v1/nodes/machine",
        "/apis/apps/v1/namespaces/default/deployments/shop",
    }


async def test_a_selector_an_owner_and_filters_choose_what_is_told(
    server: ApiServer, folder: Path
) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": True}

    def right(name: str) -> None:
        server.put("pods", name, labels={"app": "shop"}, owners=[owner])

    right("a-right")
    server.put("pods", "a-other-label", labels={"app": "x"}, owners=[owner])
    server.put("pods", "a-unowned", labels={"app": "shop"})
    server.put("pods", "a-shared", labels={"app": "shop"}, owners=[owner | {"controller": False}])
    server.put("pods", "a-owned-by-another", labels={"app": "shop"}, owners=[owner | {"kind": "X"}])
    right("b-filtered")
    pods = {"apiVersion": "v1", "kind": "Pod", "selector": {"matchLabels": {"app": "shop"}}}
    async with follow(
        server,
        folder,
        pods,
        owner={"apiVersion": "apps/v1", "kind": "ReplicaSet"},
        filters=[{"cesql": "name LIKE 'a-%'"}],
    ) as run:
        assert told(await run.events(1)) == [("add", "a-right")]
        await until_watched(server)
        server.put("pods", "a-right", labels={"app": "x"}, owners=[owner])
        right("a-late")

        assert told(await run.events(2)) == [("delete", "a-right"), ("add", "a-late")]


async def test_namespaces_are_followed_while_they_have_the_labels(
    server: ApiServer, folder: Path
) -> None:
    server.put("namespaces", "blue", labels={"team": "blue"})
    server.put("namespaces", "red", labels={"team": "red"})
    for each in ("blue", "red"):
        server.put("configmaps", f"of-{each}", namespace=each)
    selector = {"matchLabels": {"team": "blue"}}
    async with follow(server, folder, namespaceSelector=selector) as run:
        assert told(await run.events(1)) == [("add", "of-blue")]
        server.put("namespaces", "red", labels={"team": "blue"})
        assert told(await run.events(1)) == [("add", "of-red")]
        server.put("namespaces", "blue")
        await until(lambda: watched(server) == {"red"})


async def test_a_namespace_that_has_the_labels_again_is_followed_from_its_beginning(
    server: ApiServer, folder: Path
) -> None:
    labels = {"team": "blue"}
    server.put("namespaces", "blue", labels=labels)
    server.put("configmaps", "one", namespace="blue")
    async with follow(server, folder, namespaceSelector={"matchLabels": labels}) as run:
        await run.events(1)
        await until_watched(server)
        await run.stop()
        await until_watched(server, 0)
        run.start()
        await until(lambda: watched(server) == {"blue"})
        server.put("namespaces", "blue")
        await until_watched(server, 0)
        server.put("namespaces", "blue", labels=labels)

        assert told(await run.events(1)) == [("add", "one")]


async def test_an_empty_selector_of_namespaces_is_all_of_them_by_one_watch(
    server: ApiServer, folder: Path
) -> None:
    for each in ("blue", "red"):
        server.put("configmaps", f"of-{each}", namespace=each)
    async with follow(server, folder, namespaceSelector={}) as run:
        events = await run.events(2)
        await until_watched(server)

    assert {each.attributes["namespace"] for each in events} == {"blue", "red"}


async def test_what_the_broker_refuses_is_a_dead_letter_and_the_rest_goes_on(
    server: ApiServer, folder: Path
) -> None:
    server.put("configmaps", "one")
    bad = server.put("configmaps", "bad\x07")
    server.put("configmaps", "two")
    async with follow(server, folder) as run:
        events = await run.events(2)
        [letter] = await run.rejected(1)

    assert told(events) == [("add", "one"), ("add", "two")]
    assert json.loads(letter.event.data or b"") == bad
    assert letter.why.reason.startswith("add of ConfigMap default/bad")


# --- lists and watches -----------------------------------------------------------------------


async def test_a_list_is_read_page_by_page(server: ApiServer, folder: Path) -> None:
    server.page = 3
    for number in range(8):
        server.put("configmaps", str(number))
    async with follow(server, folder) as run:
        events = await run.events(8)
        await until_watched(server)

    assert told(events) == [("add", str(number)) for number in range(8)]
    lists = [each for each in server.asked if "limit" in each.query]
    assert len(lists) == 3


async def test_a_list_that_is_too_old_amid_it_is_read_anew_and_tells_nothing_twice(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.page = 2
    for number in range(4):
        server.put("configmaps", str(number))
    pages, page = [], api.page

    async def compacting(*arguments: object) -> api.Page:
        found = await page(*arguments)  # type: ignore[arg-type]  # which are handed on
        pages.append(found)
        if len(pages) == 1:
            server.compact()
        return found

    monkeypatch.setattr(api, "page", compacting)
    async with follow(server, folder) as run:
        assert sorted(told(await run.events(4))) == [("add", str(each)) for each in range(4)]
        await until_watched(server)
        server.put("configmaps", "last")
        assert told(await run.events(1)) == [("add", "last")]


async def test_a_watch_that_ends_is_begun_again_after_the_last_bookmark(
    server: ApiServer, folder: Path
) -> None:
    async with follow(server, folder) as run:
        await until_watched(server)
        version = server.bookmark()
        server.end_watches()
        await until(lambda: server.asked[-1].query.get("resourceVersion") == version)
        await until_watched(server)
        server.put("configmaps", "one")

        assert told(await run.events(1)) == [("add", "one")]
        assert run.status.state == "running"
    assert len([each for each in server.asked if "limit" in each.query]) == 1


@pytest.mark.parametrize("gone_as", ["status", "event"])
async def test_after_a_place_that_is_gone_only_the_differences_are_told(
    server: ApiServer, folder: Path, gone_as: str
) -> None:
    server.gone_as = gone_as
    for each in ("same", "changed", "deleted", "replaced"):
        server.put("configmaps", each)
    async with follow(server, folder) as run:
        await run.events(4)
        await until_watched(server)
        await run.stop()
        server.put("configmaps", "changed", data={"n": "2"})
        server.delete("configmaps", "deleted")
        server.delete("configmaps", "replaced")
        server.put("configmaps", "replaced")
        server.put("configmaps", "new")
        server.compact()
        run.start()
        events = await run.events(5)
        await until_watched(server)
        server.put("configmaps", "last")
        [last] = await run.events(1)

    assert told(events) == [
        ("update", "changed"),
        ("delete", "replaced"),
        ("add", "replaced"),
        ("add", "new"),
        ("delete", "deleted"),
    ]
    assert last.attributes["name"] == "last"
    assert json.loads(events[4].data or b"")["metadata"]["name"] == "deleted"


async def test_a_watch_that_is_told_amid_it_that_its_place_is_gone_lists_anew(
    server: ApiServer, folder: Path
) -> None:
    server.put("configmaps", "one")
    async with follow(server, folder) as run:
        await run.events(1)
        await until_watched(server)
        server.delete("configmaps", "one")
        assert told(await run.events(1)) == [("delete", "one")]
        server.fail_watches(410, "too old")
        server.put("configmaps", "two")
        assert told(await run.events(1)) == [("add", "two")]
        await until_watched(server)
        server.put("configmaps", "three")
        assert told(await run.events(1)) == [("add", "three")]
        assert run.status.state == "running"


async def test_nothing_is_watched_before_it_is_durable_from_where_on(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable = asyncio.Event()
    put = MemoryCheckpoints.put

    async def once_it_may(checkpoints: MemoryCheckpoints, key: str, place: bytes) -> None:
        await durable.wait()
        await put(checkpoints, key, place)

    monkeypatch.setattr(MemoryCheckpoints, "put", once_it_may)
    server.put("configmaps", "one")
    async with follow(server, folder) as run:
        assert told(await run.events(1)) == [("add", "one")]
        await asyncio.sleep(0.2)
        assert not server.watches

        durable.set()
        await until_watched(server)


async def test_a_watch_that_the_server_does_not_end_is_begun_again(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_WATCHES_FOR", 0)
    monkeypatch.setattr(api, "_LONGER", 0.1)

    async def many_were_begun() -> None:
        while len([each for each in server.asked if "watch" in each.query]) < 3:
            server.bookmark()
            await asyncio.sleep(0.01)

    async with follow(server, folder) as run:
        await asyncio.wait_for(many_were_begun(), 30)
        server.put("configmaps", "one")
        await run.events(1)
        assert run.status.state == "running"


async def test_a_watch_that_fails_is_told_of_and_nothing_is_lost(
    server: ApiServer, folder: Path
) -> None:
    async with follow(server, folder) as run:
        await until_watched(server)
        server.put("configmaps", "one")
        server.fail_watches(500, "etcd has no leader")
        status = await run.until("unhealthy")
        server.put("configmaps", "two")

        assert told(await run.events(2)) == [("add", "one"), ("add", "two")]
    path = "/api/v1/namespaces/default/configmaps"
    assert status.error == f"the API server ended the watch of {path}: etcd has no leader"


async def test_lists_that_are_always_too_old_are_told_of(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.page = 1
    for number in range(2):
        server.put("configmaps", str(number))
    page = api.page

    async def compacting(*arguments: object) -> api.Page:
        found = await page(*arguments)  # type: ignore[arg-type]  # which are handed on
        server.compact()
        return found

    monkeypatch.setattr(api, "page", compacting)
    async with follow(server, folder) as run:
        status = await run.until("unhealthy")
        monkeypatch.setattr(api, "page", page)
        assert sorted(told(await run.events(2))) == [("add", "0"), ("add", "1")]
    assert "were out of date before their end was read" in (status.error or "")


async def test_another_cluster_behind_the_same_file_is_followed_from_its_beginning(
    server: ApiServer, folder: Path
) -> None:
    server.put("configmaps", "one")
    async with ApiServer() as other, follow(server, folder) as run:
        await run.events(1)
        await run.stop()
        other.put("configmaps", "two")
        other.version = 1_000
        other.kubeconfig(folder)
        run.start()
        [event] = await run.events(1)

    assert (event.attributes["name"], event.source) == ("two", other.url)


async def test_more_objects_than_can_be_kept_come_again_with_the_same_ids(
    server: ApiServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_200):
        server.put("configmaps", f"{number}")
    async with follow(server, folder) as run:
        before = await run.events(1_200)
        await until(lambda: "too many objects to keep" in caplog.text)
        await run.stop()
        server.compact()
        run.start()
        again = await run.events(1_200)

    assert {each.id for each in before} == {each.id for each in again}


async def test_what_comes_in_small_pieces_is_read_as_well(server: ApiServer, folder: Path) -> None:
    server.piece = 7
    server.put("configmaps", "one", data={"ä": "ö" * 50})
    async with follow(server, folder) as run:
        await run.events(1)
        await until_watched(server)
        wanted = server.put("configmaps", "two", data={"ü": "€" * 50})
        [event] = await run.events(1)

    assert json.loads(event.data or b"") == wanted


# --- what it survives ------------------------------------------------------------------------


async def test_an_event_of_a_watch_comes_again_with_its_id_while_it_is_not_durable(
    server: ApiServer, folder: Path
) -> None:
    async with follow(server, folder) as run:
        await until_watched(server)
        with run.outage():
            server.put("configmaps", "one")
            await run.until("unhealthy")
            await run.restart()
        [event] = await run.events(1)

    assert told([event]) == [("add", "one")]


async def test_the_place_is_kept_before_an_event_until_that_is_durable(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = {"apiVersion": "v1", "kind": "Pod"}
    reached, is_stuck, run_as_it_is = asyncio.Event(), True, ApiServerSource.run

    async def run_stuck(self: ApiServerSource, emit: Emitter) -> None:
        async def stuck(events: Sequence[Event]) -> None:
            if is_stuck and events[0].attributes["kind"] == "ConfigMap":
                reached.set()
                await asyncio.Event().wait()
            await emit(events)

        await run_as_it_is(self, cast("Emitter", stuck))

    monkeypatch.setattr(ApiServerSource, "run", run_stuck)
    async with follow(server, folder, CONFIGMAPS, pods) as run:
        await until_watched(server, 2)
        server.put("configmaps", "one")
        await reached.wait()
        for number in range(3):  # each of which has the places kept
            server.put("pods", str(number))
            await run.events(1)
        await run.stop()
        is_stuck = False
        run.start()
        events = await run.events(1)
        while "one" not in {each.attributes["name"] for each in events}:
            events += await run.events(1)

    assert ("add", "one") in told(events)


async def test_a_server_that_goes_away_is_told_of_and_followed_again_from_where_it_was(
    server: ApiServer, folder: Path
) -> None:
    server.put("configmaps", "one")
    async with follow(server, folder) as run:
        await run.events(1)
        await until_watched(server)
        await server.down()
        status = await run.until("unhealthy")
        server.put("configmaps", "two")
        await server.listen()

        assert told(await run.events(1)) == [("add", "two")]
        await run.until("running")
    assert f"the API server at {server.url} closed the connection" in (status.error or "")


async def test_a_server_that_is_not_there_is_told_of_with_its_address(
    server: ApiServer, folder: Path
) -> None:
    await server.down()
    async with follow(server, folder) as run:
        status = await run.until("unhealthy")

    assert status.error == f"the API server at {server.url} cannot be reached: Connection refused"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (reset(), "Connection reset by peer"),
        (close(), "closed the connection amid an answer"),
        (raw(b"SSH-2.0\r\n\r\n"), "does not speak HTTP/1.1"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"), "sends a head without end"),
        (reply(200, body=b"<html>"), "/api/v1 is not answered as Kubernetes does"),
    ],
)
async def test_what_is_no_api_server_is_told_in_words(
    server: ApiServer, folder: Path, script: Script, why: str
) -> None:
    async with Subscriber() as another:
        another.answers("/api/v1", [script])
        server.url = another.url("")
        async with follow(server, folder) as run:
            status = await run.until("unhealthy")

    assert why in (status.error or "")


async def test_a_server_that_is_silent_amid_an_answer_is_told_of(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ANSWERS_WITHIN", 0.3)
    async with Subscriber() as another:
        another.answers("/api/v1", [hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")])
        server.url = another.url("")
        async with follow(server, folder) as run:
            status = await run.until("unhealthy")

    assert status.error == f"the API server at {server.url} does not answer in time"


async def test_a_server_that_is_silent_is_told_of_and_asked_again(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ANSWERS_WITHIN", 0.3)
    server.put("configmaps", "one")
    async with Relay(f"{HOST}:{free_port()}", to=server.url.removeprefix("http://")) as relay:
        server.url = relay.in_url(server.url)
        async with follow(server, folder) as run:
            with relay.hung():
                status = await run.until("unhealthy")
            assert told(await run.events(1)) == [("add", "one")]

    assert status.error == f"the API server at {server.url} does not answer in time"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "the token or the certificate is not, or no longer, valid"),
        (500, "the API server answers 500: as it was told"),
    ],
)
async def test_what_the_server_has_against_it_is_told(
    server: ApiServer, folder: Path, status: int, why: str
) -> None:
    server.refusals = [(status, {})] * 2  # by a 401, the kubeconfig is read again first
    async with follow(server, folder) as run:
        found = await run.until("unhealthy")
        assert why in (found.error or "")
        await run.until("running")


async def test_what_may_not_be_read_is_told_with_the_rule_that_it_takes(
    server: ApiServer, folder: Path
) -> None:
    server.forbidden = {"deployments"}
    deployments = {"apiVersion": "apps/v1", "kind": "Deployment"}
    async with follow(server, folder, CONFIGMAPS, deployments) as run:
        status = await run.until("unhealthy")

    assert status.error == (
        "reading deployments: the API server answers 403: deployments is forbidden; it takes a "
        "Role of the namespace 'default' with the rule apiGroups [\"apps\"], resources "
        '["deployments"], verbs ["get", "list", "watch"], bound to whom cemesh runs as'
    )


@pytest.mark.parametrize(
    ("bound", "why"),
    [("_LARGEST_PAGE", "answers with more than"), ("_LARGEST_OBJECT", "an object has more than")],
)
async def test_what_is_longer_than_anything_that_is_meant_is_not_kept_in_memory(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch, bound: str, why: str
) -> None:
    server.piece = 1_000
    async with follow(server, folder) as run:
        await until_watched(server)
        monkeypatch.setattr(api, bound, 2_000)
        server.put("configmaps", "long", data={"text": "x" * 5_000})
        if bound == "_LARGEST_PAGE":
            server.compact()
            server.end_watches()
        status = await run.until("unhealthy")

    assert f"{why} 2,000 bytes" in (status.error or "")


async def test_a_kind_that_is_not_there_is_told(server: ApiServer, folder: Path) -> None:
    async with follow(
        server, folder, {"apiVersion": "shop.example.com/v1", "kind": "Order"}
    ) as run:
        status = await run.until("unhealthy")

    assert "has no kind Order in shop.example.com/v1" in (status.error or "")


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    server: ApiServer, folder: Path
) -> None:
    server.refusals = [(429, {"Retry-After": "600"})]
    server.put("configmaps", "one")
    async with follow(server, folder) as run:
        status = await run.until("unhealthy")
        assert len(server.asked) == 1
        server.refusals = [(429, {"Retry-After": "0"})]
        await run.restart()
        assert told(await run.events(1)) == [("add", "one")]

    assert "answers 429" in (status.error or "")


# --- access ----------------------------------------------------------------------------------


async def test_in_a_cluster_the_account_of_the_pod_is_used_and_its_token_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(HOST)
    (folder / "ca.crt").write_text(certificates.authority)
    (folder / "token").write_text(TOKEN + "\n")
    async with ApiServer(tls=certificates.server) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", HOST)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        monkeypatch.setattr(source, "in_cluster", lambda: in_cluster(folder))
        server.put("configmaps", "one")
        spec = ApiServerSpec.model_validate({"resources": [CONFIGMAPS]})
        async with running(ApiServerSource, spec) as run:
            await run.events(1)
            await until_watched(server)
            server.token = "another"
            (folder / "token").write_text(server.token)
            server.end_watches()
            server.put("configmaps", "two")
            [event] = await run.events(1)
            assert run.status.state == "running"

    assert (event.attributes["name"], event.source) == ("two", server.url)


async def test_a_certificate_that_nobody_vouches_for_is_told_of(folder: Path) -> None:
    wrong = make_certificates(HOST).authority
    async with ApiServer(tls=make_certificates(HOST).server) as server:
        server.kubeconfig(folder, authority=wrong)
        spec = {"resources": [CONFIGMAPS], "kubeconfig": str(folder / "kubeconfig")}
        async with running(ApiServerSource, ApiServerSpec.model_validate(spec)) as run:
            status = await run.until("unhealthy")

    told = f"{server.url} cannot be reached: TLS: unable to get local issuer certificate"
    assert told in (status.error or "")


async def test_it_leaves_nothing_behind_when_it_is_cancelled(
    server: ApiServer, folder: Path
) -> None:
    before = asyncio.all_tasks()
    async with follow(server, folder, CONFIGMAPS, {"apiVersion": "v1", "kind": "Pod"}) as run:
        await until_watched(server, 2)
        await run.stop()
        await until_watched(server, 0)

    await until(lambda: asyncio.all_tasks() <= before)
