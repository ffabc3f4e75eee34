"""Mirrors of objects, on an API server that fails as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.connections.kubernetes import api, mirror
from broker.connections.kubernetes.collections import Collection
from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.connections.kubernetes.mirror import Mirror
from broker.connections.kubernetes.refusals import Refused
from tests.services.apiserver import ApiServer
from tests.services.cluster import PLACES, Watch, status_of
from tests.unit.meshes import until

CONFIG_MAPS = Collection(
    api_version="v1", kind="ConfigMap", plural="configmaps", namespace="default"
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_FIRST_PAUSE", 0.01)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as found:
        yield found


class Mirrored:
    """A mirror of config maps, and how often it has told what."""

    def __init__(self, kubeconfig: Path) -> None:
        self.changes = 0
        self.troubles: list[str | None] = []
        self.mirror = Mirror(
            by_kubeconfig(kubeconfig), CONFIG_MAPS, changed=self._changed, fared=self._fared
        )

    @property
    def names(self) -> set[str]:
        return {key.removeprefix("default/") for key in self.mirror.objects}

    def _changed(self) -> None:
        self.changes += 1

    def _fared(self) -> None:
        trouble = self.mirror.trouble
        self.troubles.append(None if trouble is None else str(trouble))


@asynccontextmanager
async def mirrored(server: ApiServer, folder: Path) -> AsyncIterator[Mirrored]:
    found = Mirrored(server.kubeconfig(folder))
    task = asyncio.create_task(found.mirror.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled(), task.exception()


def watched(server: ApiServer) -> list[str]:
    """Return from where on each watch was asked for."""
    return [each.query["resourceVersion"] for each in server.asked if "watch" in each.query]


def lists(server: ApiServer) -> int:
    return sum("limit" in each.query and "continue" not in each.query for each in server.asked)


async def test_what_is_there_and_what_becomes_of_it_is_known(
    server: ApiServer, tmp_path: Path
) -> None:
    server.page = 2
    for number in range(5):
        server.put("configmaps", f"c{number}", data={"n": "1"})
    server.put("configmaps", "theirs", namespace="other")

    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        assert found.names == {f"c{number}" for number in range(5)}
        assert found.mirror.synced
        assert found.changes == 1

        server.put("configmaps", "c1", data={"n": "2"})
        server.delete("configmaps", "c2")
        await until(lambda: "c2" not in found.names)
        assert found.mirror.essences["default/c1"]["data"] == {"n": "2"}


async def test_an_empty_collection_is_known_as_well(server: ApiServer, tmp_path: Path) -> None:
    async with mirrored(server, tmp_path) as found:
        await until(lambda: found.mirror.synced)
        assert found.changes == 1


async def test_what_the_api_server_and_statuses_add_is_no_change(
    server: ApiServer, tmp_path: Path
) -> None:
    server.put("configmaps", "one", data={"n": "1"})
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        essence = found.mirror.essences["default/one"]

        server.put("configmaps", "one", data={"n": "1"}, status={"ready": True})
        await until(lambda: "status" in found.mirror.objects["default/one"])
        assert found.changes == 1
        assert found.mirror.essences["default/one"] is essence
        assert "status" not in essence

        server.put("configmaps", "one", data={"n": "1"}, labels={"a": "b"})
        await until(lambda: found.changes == 2)


async def test_a_watch_goes_on_from_the_last_bookmark(server: ApiServer, tmp_path: Path) -> None:
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        version = server.bookmark()
        server.end_watches()
        await until(lambda: version in watched(server))

        assert lists(server) == 1
        assert found.troubles == []


@pytest.mark.parametrize("gone_as", ["status", "event"])
async def test_where_the_place_is_gone_what_was_missed_is_found_out(
    server: ApiServer, tmp_path: Path, gone_as: str
) -> None:
    server.gone_as = gone_as
    for name in ("stays", "changes", "goes"):
        server.put("configmaps", name, data={"n": "1"})
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        await server.down()
        server.put("configmaps", "changes", data={"n": "2"})
        server.put("configmaps", "comes")
        server.delete("configmaps", "goes")
        server.compact()
        await server.listen()

        await until(lambda: found.names == {"stays", "changes", "comes"})
        assert found.mirror.essences["default/changes"]["data"] == {"n": "2"}
        assert found.changes == 2


async def test_a_list_that_is_out_of_date_amid_it_is_begun_again(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.page = 1
    for name in ("one", "two"):
        server.put("configmaps", name)
    page = api.page

    async def then_compact(*arguments: object) -> api.Page:
        found = await page(*arguments)  # type: ignore[arg-type]  # as it was called
        if not server.compacted:
            server.compact()
        return found

    monkeypatch.setattr(api, "page", then_compact)
    async with mirrored(server, tmp_path) as found:
        await until(lambda: found.mirror.synced)

        assert found.names == {"one", "two"}
        assert lists(server) == 2


async def test_a_watch_that_is_cut_off_once_is_no_trouble(
    server: ApiServer, tmp_path: Path
) -> None:
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        server.fail_watches(500, "etcd has a new leader")
        server.put("configmaps", "one")
        await until(lambda: found.names == {"one"})

        assert found.troubles == []


async def test_a_server_that_is_away_is_trouble_until_it_is_back(
    server: ApiServer, tmp_path: Path
) -> None:
    server.put("configmaps", "one")
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        await server.down()
        await until(lambda: len(found.troubles) == 1)
        assert found.names == {"one"}
        await server.listen()
        await until(lambda: found.mirror.trouble is None)

    assert "cannot be reached" in (found.troubles[0] or "")
    assert found.troubles[1:] == [None]


async def test_a_server_that_does_not_know_our_place_is_asked_for_everything(
    server: ApiServer, tmp_path: Path
) -> None:
    """One with older data than we have seen, as after a restore, has an error of its own for us."""
    async with mirrored(server, tmp_path):
        await until(lambda: bool(server.watches))
        server.refusals = [(504, {})] * 3
        server.end_watches()
        await until(lambda: lists(server) == 2)


async def test_a_kind_that_is_not_served_any_more_leaves_its_objects_known(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("configmaps", "one")
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        with monkeypatch.context() as patched:
            patched.delitem(PLACES, "configmaps")
            server.end_watches()
            await until(lambda: found.mirror.trouble is not None)
            before = len(server.asked)
            await until(lambda: len(server.asked) > before + 4)
            assert isinstance(found.mirror.trouble, Refused)
            assert found.mirror.trouble.status == 404
            assert found.names == {"one"}
            assert found.changes == 1
        await until(lambda: found.mirror.trouble is None)


async def test_a_server_that_is_busy_is_left_alone_for_as_long_as_it_says(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    server.refusals = [(429, {"Retry-After": "17"})]
    async with mirrored(server, tmp_path) as found:
        monkeypatch.setattr(asyncio, "sleep", noted)
        await until(lambda: found.mirror.synced)
        monkeypatch.undo()

    assert 17.0 in slept
    assert "429" in (found.troubles[0] or "")


async def test_a_watch_that_is_silent_is_begun_again(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_WATCHES_FOR", 0)
    monkeypatch.setattr(api, "_LONGER", 0.1)
    async with mirrored(server, tmp_path) as found:
        await until(lambda: len(watched(server)) > 2)

        assert found.troubles == []
        assert lists(server) == 1


async def test_whom_it_is_again_is_read_when_the_server_does_not_know_us(
    server: ApiServer, tmp_path: Path
) -> None:
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        server.token = "another"
        server.kubeconfig(tmp_path)
        server.end_watches()
        server.put("configmaps", "one")
        await until(lambda: found.names == {"one"})

        assert found.troubles == []


class Erring(ApiServer):
    """Ends each watch by an error, as where an object cannot be converted."""

    async def _watch(self, watch: Watch, since: int, writer: asyncio.StreamWriter) -> None:
        watch.lines.put_nowait({"type": "ERROR", "object": status_of(500, "cannot convert")})
        watch.lines.put_nowait(None)
        await super()._watch(watch, since, writer)


async def test_what_happens_while_each_watch_is_ended_by_an_error_is_known_and_that_is_told(
    tmp_path: Path,
) -> None:
    async with Erring() as server, mirrored(server, tmp_path) as found:
        await until(lambda: len(watched(server)) > 1)
        server.put("configmaps", "one", data={"n": "1"})
        await until(lambda: found.names == {"one"})
        await until(lambda: "cannot convert" in str(found.troubles))


async def test_an_error_that_is_none_of_kubernetes_ends_a_watch_and_no_mirror(
    server: ApiServer, tmp_path: Path
) -> None:
    async with mirrored(server, tmp_path) as found:
        await until(lambda: bool(server.watches))
        for each in server.watches:
            each.lines.put_nowait({"type": "ERROR", "object": {"message": None}})
            each.lines.put_nowait(None)
        await until(lambda: len(watched(server)) > 1)
        server.put("configmaps", "one", data={"n": "1"})
        await until(lambda: found.names == {"one"})
