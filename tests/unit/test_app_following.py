from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from broker.app import following, origins
from broker.app.applying import Applying
from broker.app.following import Audited, follow
from broker.manifest import Loaded
from broker.mesh import Mesh
from broker.observe.audit import AuditLog
from broker.settings import Part, Settings
from broker.status import Declared
from broker.trigger import Desired
from tests.unit.meshes import Store, install, make_mesh, until

BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: {}
"""

NOWHERE = AuditLog()


class Files(origins.Files):
    """One manifest, and word of its changes."""

    def __init__(self, path: Path) -> None:
        super().__init__(Settings(paths=(path,)))
        self.path = path
        self._news: asyncio.Queue[None] = asyncio.Queue()

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self._news.put_nowait(None)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            await self._news.get()
            yield


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "mesh.yaml")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    install(monkeypatch, store=store)
    return store


@asynccontextmanager
async def followed(
    files: Files,
    *parts: Part,
    audit: AuditLog = NOWHERE,
    taken_up: Callable[[Desired], None] = lambda _: None,
    is_whole: bool = True,
) -> AsyncIterator[Mesh]:
    """Have a mesh, or these parts of it, follow the files while the context lasts."""
    stopping = asyncio.Event()
    done = asyncio.Event()
    meshes: asyncio.Queue[Mesh] = asyncio.Queue()

    async def run() -> None:  # the mesh is entered, changed and left by one task
        async with make_mesh(*parts) as mesh:
            meshes.put_nowait(mesh)
            await follow(
                files,
                Applying(mesh),
                stopping,
                Audited(audit, {}),
                taken_up=taken_up,
                is_whole=is_whole,
            )
            await done.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run())
        yield await meshes.get()
        stopping.set()
        done.set()


def runs(mesh: Mesh, *names: str) -> bool:
    return all(mesh.find(f"default/{name}") is not None for name in names)


async def test_each_good_change_is_taken_up(files: Files, store: Store) -> None:
    async with followed(files) as mesh:
        files.write(BROKER.format("first"))
        await until(lambda: runs(mesh, "first"))
        files.write(BROKER.format("second"))
        await until(lambda: runs(mesh, "second"))

        assert not runs(mesh, "first")
        assert mesh.problems == ()


async def test_what_runs_after_a_change_is_told_and_what_is_refused_is_not(
    files: Files, store: Store
) -> None:
    told: list[Desired] = []
    async with followed(files, taken_up=told.append) as mesh:
        files.write(BROKER.format("first"))
        await until(lambda: bool(told))
        files.write("kind: Nothing")
        await until(lambda: bool(mesh.problems))

    assert [[*each.brokers] for each in told] == [["default/first"]]


async def test_a_bad_change_is_told_and_changes_nothing_until_it_is_mended(
    files: Files, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with followed(files) as mesh:
        files.write(BROKER.format("first"))
        await until(lambda: runs(mesh, "first"))
        with caplog.at_level(logging.ERROR):
            files.write(BROKER.format("second").replace("kind", "kin"))
            await until(lambda: bool(mesh.problems))
        assert "change refused" in caplog.messages
        assert str(files.path) in str(mesh.problems[0])
        assert runs(mesh, "first")

        files.write(BROKER.format("second"))
        await until(lambda: runs(mesh, "second"))
        await until(lambda: not mesh.problems)


async def test_a_good_change_that_cannot_be_taken_up_now_is_tried_again(
    files: Files,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "_RETRY", timedelta(milliseconds=20))
    store.outage = "the disk is full"
    async with followed(files) as mesh:
        with caplog.at_level(logging.ERROR):
            files.write(BROKER.format("first"))
            await until(lambda: caplog.messages.count("change not taken up") >= 2)
        assert [each.message for each in mesh.problems] == ["the disk is full"]
        assert not runs(mesh, "first")

        store.outage = None
        await until(lambda: runs(mesh, "first"))
        await until(lambda: not mesh.problems)


async def test_what_could_not_be_begun_with_is_tried_again_though_nothing_changes(
    files: Files, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_RETRY", timedelta(milliseconds=20))
    files.path.write_text(BROKER.format("first"))
    async with followed(files, is_whole=False) as mesh:
        await until(lambda: runs(mesh, "first"))


async def test_changes_while_nothing_can_be_taken_up_do_not_multiply_the_tries(
    files: Files, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[asyncio.TimerHandle] = []

    def after(pause: timedelta, call: Callable[[], None]) -> asyncio.TimerHandle:
        tries.append(asyncio.get_running_loop().call_later(pause.total_seconds(), call))
        return tries[-1]

    monkeypatch.setattr(following, "_RETRY", timedelta(hours=1))
    monkeypatch.setattr(following, "_after", after)
    store.outage = "the disk is full"
    async with followed(files):
        for _ in range(3):
            tries_before = len(tries)
            files.write(BROKER.format("first"))
            await until(lambda: len(tries) > tries_before)  # noqa: B023 - it is awaited here
        assert [each.cancelled() for each in tries] == [True, True, False]
    assert tries[-1].cancelled()


async def test_told_to_stop_it_waits_for_nothing_that_is_being_read(
    files: Files, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def load() -> Loaded:
        reading.set()
        return await asyncio.Future()

    monkeypatch.setattr(files, "load", load)
    async with followed(files):
        files.write(BROKER.format("first"))
        await reading.wait()


async def test_a_change_that_a_part_must_refuse_is_told_once_and_not_tried_again(
    files: Files,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "_RETRY", timedelta(0))
    async with followed(files, Part.INGRESS) as mesh:
        files.write(BROKER.format("first"))
        await until(lambda: runs(mesh, "first"))
        monkeypatch.setattr(Store, "shared", False)
        with caplog.at_level(logging.ERROR):
            files.write(BROKER.format("second"))
            await until(lambda: bool(mesh.problems))
        assert "its channel 'store' is of one process alone" in str(mesh.problems[0])
        assert runs(mesh, "first")

        monkeypatch.setattr(Store, "shared", True)
        files.write(BROKER.format("third"))
        await until(lambda: runs(mesh, "third"))
        # Of whatever level the log is by now: a test before may have set it.
        errors = [each.message for each in caplog.records if each.levelno >= logging.ERROR]
        assert errors == ["manifest", "change refused"]


async def test_told_to_stop_it_takes_up_nothing_more(files: Files, store: Store) -> None:
    stopping = asyncio.Event()
    stopping.set()
    async with make_mesh() as mesh:
        files.write(BROKER.format("first"))
        async with asyncio.timeout(30):
            audited = Audited(NOWHERE, {})
            await follow(files, Applying(mesh), stopping, audited)

        assert not runs(mesh, "first")


def audited(file: Path) -> list[dict[str, object]]:
    """Return the lines of the audit log, without their times."""
    lines = [json.loads(each) for each in file.read_text().splitlines()] if file.exists() else []
    return [{name: each for name, each in line.items() if name != "time"} for line in lines]


async def test_it_is_audited_which_objects_change(
    files: Files, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    first, second = BROKER.format("first"), BROKER.format("second")
    async with followed(files, audit=AuditLog(file)):
        files.write(first)
        await until(lambda: len(audited(file)) == 1)
        files.write(f"{second}  labels: {{a: b}}\n---\n{first}")
        await until(lambda: len(audited(file)) == 2)
        files.write(f"# a comment\n{second}  labels: {{a: c}}")
        await until(lambda: len(audited(file)) == 3)

    told = [(each["added"], each["changed"], each["removed"]) for each in audited(file)]
    assert told == [
        (["Broker default/first"], [], []),
        (["Broker default/second"], [], []),
        ([], ["Broker default/second"], ["Broker default/first"]),
    ]
    assert {(each["action"], each["outcome"]) for each in audited(file)} == {("manifests", "done")}


async def test_a_refused_change_is_audited_and_a_comment_is_not(
    files: Files, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    async with followed(files, audit=AuditLog(file)) as mesh:
        files.write(BROKER.format("first"))
        await until(lambda: runs(mesh, "first"))
        files.write(BROKER.format("second").replace("kind", "kin"))
        await until(lambda: bool(mesh.problems))
        files.write(f"# as before\n{BROKER.format('first')}")
        await until(lambda: not mesh.problems)
        files.write(BROKER.format("third"))
        await until(lambda: len(audited(file)) == 3)

    _, refused, third = audited(file)
    assert refused == {"action": "manifests", "outcome": "refused", "problems": 1}
    assert third["added"] == ["Broker default/third"]


async def test_a_mesh_knows_where_what_it_runs_is_declared(files: Files, store: Store) -> None:
    async with followed(files) as mesh:
        files.write(f"# here\n{BROKER.format('first')}")
        await until(lambda: runs(mesh, "first"))
        await until(lambda: bool(mesh.manifests.objects))
        first = mesh.manifests
        files.write(BROKER.format("second").replace("kind", "kin"))
        await until(lambda: bool(mesh.problems))

        assert (await mesh.status()).manifests is first
        assert first.objects == [
            Declared(kind="Broker", key="default/first", file=files.path, line=3)
        ]


async def test_a_change_that_is_tried_again_and_again_is_audited_once(
    files: Files, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "audit.jsonl"
    monkeypatch.setattr(following, "_RETRY", timedelta(milliseconds=10))
    tried = Tries()
    logging.getLogger("cemesh.mesh").addHandler(tried)
    store.outage = "the disk is full"
    try:
        async with followed(files, audit=AuditLog(file)) as mesh:
            files.write(BROKER.format("first"))
            await until(lambda: tried.count >= 3)
            store.outage = None
            await until(lambda: runs(mesh, "first"))
            await until(lambda: len(audited(file)) == 2)
    finally:
        logging.getLogger("cemesh.mesh").removeHandler(tried)

    failed, done = audited(file)
    assert failed == {"action": "manifests", "outcome": "failed", "why": "the disk is full"}
    assert done["added"] == ["Broker default/first"]


class Tries(logging.Handler):
    """Counts the changes that could not be taken up."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.getMessage() == "change not taken up"
