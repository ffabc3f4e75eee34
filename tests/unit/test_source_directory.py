"""DirectorySource: real files, as they are put into a folder, changed, moved and deleted."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.channels.memory import MemoryChannel
from broker.errors import TooLarge
from broker.event import Event
from broker.manifest import load
from cemesh.testing import RunningSource, running
from sources.directory import DirectorySource, DirectorySpec, folder, spec, told
from sources.directory.events import Changed, content_type, event_of
from sources.directory.files import files
from sources.directory.folder import Folder
from tests.unit.meshes import until

PAGE = Path(__file__, "../../../docs/sources/DirectorySource.md").resolve()
SOURCE = "/apis/v1/namespaces/default/directorysources/uploads"
LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_MOST_OFTEN", timedelta(milliseconds=10))


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def asked(path: Path, **more: object) -> DirectorySpec:
    quick = {"interval": "PT0.01S", "settledFor": "PT0S"}
    return DirectorySpec.model_validate({"path": str(path), **quick, **more})


def watched(path: Path, **more: object) -> AbstractAsyncContextManager[RunningSource]:
    return running(DirectorySource, asked(path, **more), name="uploads")


def put(path: Path, text: str = "1\n") -> Path:
    """Put a whole file there, as one does."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(".unfinished")
    unfinished.write_text(text)
    return unfinished.rename(path)


def unmount(folder: Path) -> None:
    folder.rename(folder.with_name("disk"))


def make(folder: Path) -> None:
    folder.mkdir()


def mount(folder: Path) -> None:
    folder.rmdir()
    folder.with_name("disk").rename(folder)


async def all_saved(run: RunningSource) -> None:
    """Return once the source has done all that there was to do."""
    await until(lambda: run.status.lag == 0)


def subjects(events: Sequence[Event]) -> list[str]:
    return [each.attributes["subject"] for each in events]


# --- what a file becomes ---------------------------------------------------------------------


async def test_a_file_is_told_by_where_it_is_and_what_is_known_of_it(into: Path) -> None:
    file = put(into / "ä b#.csv", "12345")
    os.utime(file, ns=(0, LONG_AGO * 10**9 + 250_000_000))

    async with watched(into) as run:
        (only,) = await run.events(1)

    changed = file.stat().st_ctime_ns
    assert only.attributes == {
        "specversion": "1.0",
        "id": f"%C3%A4%20b%23.csv@{changed:x}.{LONG_AGO * 10**9 + 250_000_000:x}.5",
        "source": SOURCE,
        "type": "dev.cemesh.directory.file",
        "subject": "ä b#.csv",
        "time": "2001-09-09T01:46:40.250000Z",
        "filesize": "5",
        "datacontenttype": "application/json",
    }
    assert json.loads(only.data or b"") == {"path": str(file)}
    assert file.exists()


async def test_a_files_bytes_are_the_payload_where_they_are_asked_for(into: Path) -> None:
    put(into / "a.csv", "1;2\n")
    (into / "b.bin").write_bytes(b"\xff\x00")
    put(into / "c", "")

    async with watched(into, content="data") as run:
        events = {each.attributes["subject"]: each for each in await run.events(3)}

    assert {name: each.data for name, each in events.items()} == {
        "a.csv": b"1;2\n",
        "b.bin": b"\xff\x00",
        "c": b"",
    }
    assert events["a.csv"].attributes["datacontenttype"] == "text/csv"


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("2026/a.json", "application/json"),
        ("a.jsonl", "application/x-ndjson"),
        ("a.PNG", "image/png"),
        ("a.csv.gz", "application/gzip"),
        ("a.csv.Z", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.nobody-knows", "application/octet-stream"),
        ("b.json/a", "application/octet-stream"),
    ],
)
def test_the_content_type_goes_by_the_name(name: str, type: str) -> None:
    assert content_type(name) == type


async def test_a_time_that_no_timestamp_can_say_is_left_out(into: Path) -> None:
    file = put(into / "a")
    os.utime(file, (0, 2**38))
    if file.stat().st_mtime != 2**38:
        os.utime(file, (0, -(2**36)))  # not every file system takes what lies so far ahead

    async with watched(into) as run:
        (only,) = await run.events(1)

    assert ("time" in only.attributes) == (-62_135_596_800 <= file.stat().st_mtime < 2**37)


# --- which files -----------------------------------------------------------------------------


async def test_only_whole_files_whose_names_match_are_told_of(into: Path, tmp_path: Path) -> None:
    for name in (".hidden.csv", "a.csv.tmp", "a.csv.part", "other.txt"):
        (into / name).write_text("no")
    (tmp_path / "secret").write_text("no")
    (into / "link.csv").symlink_to(tmp_path / "secret")
    (into / "folder.csv").mkdir()
    put(into / "folder.csv" / "deep.csv")
    os.mkfifo(into / "pipe.csv")
    put(into / "one.csv")

    async with watched(into, pattern="*.c*", content="data") as run:
        assert subjects(await run.events(1)) == ["one.csv"]
        (into / "a.csv.tmp").rename(into / "a.csv")
        assert subjects(await run.events(1)) == ["a.csv"]
        await all_saved(run)


async def test_folders_within_are_looked_into_where_that_is_asked_for(
    into: Path, tmp_path: Path
) -> None:
    put(into / "a" / "1")
    put(into / "a" / "b" / "2")
    put(into / ".git" / "3")
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere" / "4")
    (into / "link").symlink_to(tmp_path / "elsewhere")
    put(into / "5")

    done = into / "done"
    async with watched(into, recursive=True, afterwards="move", moveTo=str(done)) as run:
        assert sorted(subjects(await run.events(3))) == ["5", "a/1", "a/b/2"]
        await until(lambda: (done / "a" / "b" / "2").exists() and (done / "5").exists())
        put(into / "6")
        assert subjects(await run.events(1)) == ["6"], "what was moved is not told again"


async def test_those_that_came_first_are_told_first(into: Path) -> None:
    names = [f"{number * 7919 % 1009}" for number in range(1_009)]
    for name in names:
        put(into / name)
    came = sorted(names, key=lambda name: (into / name).stat().st_ctime_ns)

    async with watched(into) as run:
        events = await run.events(1_009)

    ctimes = [(into / name).stat().st_ctime_ns for name in subjects(events)]
    assert ctimes == sorted(ctimes)
    assert sorted(subjects(events)) == sorted(came)


async def test_a_file_that_is_changed_is_told_again_as_another_event(into: Path) -> None:
    put(into / "a", "1")

    async with watched(into, content="data") as run:
        (first,) = await run.events(1)
        put(into / "a", "2")
        (second,) = await run.events(1)

    assert (first.data, second.data) == (b"1", b"2")
    assert first.id != second.id


def test_a_file_is_told_once_it_has_not_changed_for_so_long(into: Path) -> None:
    clock = [0.0]
    it = Folder(asked(into, settledFor="PT2S"), SOURCE, now=lambda: clock[0])
    file = into / "a"
    file.write_text("1")

    def told_at(second: float) -> bool:
        clock[0] = second
        return bool(it.look())

    assert not told_at(0)
    assert not told_at(1.9)
    file.write_text("12")
    assert not told_at(2)
    assert not told_at(3.9)
    assert it.waiting == 1
    assert told_at(4)


@pytest.mark.parametrize("content", ["data", "reference"])
def test_a_file_that_changes_between_the_look_and_the_read_waits(into: Path, content: str) -> None:
    it = Folder(asked(into, content=content), SOURCE, now=lambda: 0)
    for name in ("changed", "gone", "linked", "still"):
        put(into / name)
    ready = it.look()
    put(into / "changed", "2\n")
    (into / "gone").unlink()
    (into / "linked").unlink()
    (into / "linked").symlink_to("still")

    assert [each.file.name for each in it.take(ready)] == ["still"]
    assert sorted(each.name for each in it.look()) == ["changed", "still"]


def test_a_file_that_changes_as_it_is_read_has_no_event(into: Path) -> None:
    by_data = asked(into, content="data")
    put(into / "a", "1")
    [met] = files(by_data, [])
    put(into / "a", "2")

    with pytest.raises(Changed):
        event_of(met, by_data, SOURCE, None)


def test_files_are_in_memory_a_few_at_a_time(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_BYTES_AT_ONCE", 10)
    monkeypatch.setattr(folder, "_FILES_AT_ONCE", 3)
    for name, size in (("a", 6), ("b", 6), ("c", 4), ("d", 11), ("e", 0), ("f", 0), ("g", 0)):
        put(into / name, size * "x")
    by_bytes = Folder(asked(into, content="data", maxBytes=10), SOURCE, now=lambda: 0)
    by_number = Folder(asked(into), SOURCE, now=lambda: 0)

    def sizes(it: Folder) -> list[list[str]]:
        ready = sorted(it.look(), key=lambda file: file.name)
        return [[each.name for each in batch] for batch in it.batches(ready)]

    assert sizes(by_bytes) == [["a"], ["b", "c", "d"], ["e", "f", "g"]]
    assert sizes(by_number) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


# --- what was told, where files stay ---------------------------------------------------------


async def test_after_a_restart_only_what_has_come_or_changed_is_told(
    into: Path, tmp_path: Path
) -> None:
    put(into / "a")
    put(into / "b")
    old = put(tmp_path / "old")
    os.utime(old, (LONG_AGO, LONG_AGO))

    async with watched(into) as run:
        await run.events(2)
        await all_saved(run)
        await run.restart()
        put(into / "c")
        await run.events(1)
        await all_saved(run)
        await run.stop()
        old.rename(into / "old")
        put(into / "b", "changed")
        run.start()
        again = await run.events(2)

    assert subjects(again) == ["old", "b"]


async def test_of_more_files_than_a_place_names_none_is_missed_and_none_told_twice(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "_MOST", 5)
    monkeypatch.setattr(told, "_SEEN_WITHIN_NS", 0)
    for number in range(50):
        put(into / f"{number}")

    async with watched(into) as run:
        await run.events(50)
        for number in range(50, 55):
            await all_saved(run)
            await run.restart()
            put(into / f"{number}")
            assert subjects(await run.events(1)) == [f"{number}"]


async def test_a_folder_that_is_mounted_late_is_not_told_anew(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "_MOST", 5)
    monkeypatch.setattr(told, "_SEEN_WITHIN_NS", 0)
    for number in range(20):
        put(into / f"{number}")

    async with watched(into) as run:
        await run.events(20)
        await all_saved(run)
        await run.stop()
        unmount(into)
        run.start()
        await run.until("unhealthy")
        make(into)
        await run.until("running")
        await run.restart()
        await run.until("running")
        mount(into)
        put(into / "20")

        assert subjects(await run.events(1)) == ["20"]


def test_a_place_of_very_many_files_fits_into_a_checkpoint(into: Path) -> None:
    many = told.Told(asked(into))
    for number in range(10_000):
        many.add((2**62 + number, os.urandom(8)))

    place = json.dumps(many.place([], 2**63), separators=(",", ":"))

    assert len(place) <= 64 << 10


# --- what becomes of files that were told ----------------------------------------------------


@pytest.mark.parametrize("afterwards", ["move", "delete"])
async def test_a_file_stays_until_its_event_is_durable(
    into: Path, tmp_path: Path, afterwards: str
) -> None:
    done = {"moveTo": str(tmp_path / "done")} if afterwards == "move" else {}
    put(into / "a", "1")

    async with watched(into, content="data", afterwards=afterwards, **done) as run:
        await run.events(1)
        await until(lambda: not any(into.iterdir()))
        with run.outage():
            file = put(into / "b", "2")
            await run.until("unhealthy")
            assert file.read_text() == "2"
        await run.events(1)
        await until(lambda: not any(into.iterdir()))

    if afterwards == "move":
        assert {each.name: each.read_text() for each in (tmp_path / "done").iterdir()} == {
            "a": "1",
            "b": "2",
        }


async def test_what_was_told_before_a_crash_and_is_still_there_comes_again_and_is_moved(
    into: Path, tmp_path: Path
) -> None:
    done = tmp_path / "done"

    async with watched(into, afterwards="move", moveTo=str(done)) as run:
        crashing = asyncio.create_task(run.crash())
        file = put(into / "a")
        await crashing
        assert file.exists()
        run.start()
        first, again = await run.events(2)

        assert first == again
        await until((done / "a").exists)
        assert json.loads(first.data or b"") == {"path": str(file), "movedTo": str(done / "a")}


async def test_nothing_is_written_over_by_a_move(into: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"

    async with watched(into, afterwards="move", moveTo=str(done)) as run:
        for text in ("1", "2", "3"):
            put(into / "a.csv", text)
            (event,) = await run.events(1)
            await until(Path(json.loads(event.data or b"")["movedTo"]).exists)

    assert sorted(each.read_text() for each in done.iterdir()) == ["1", "2", "3"]
    assert (done / "a.csv").read_text() == "1"
    assert all(re.fullmatch(r"a(\.[0-9a-f]{16})?\.csv", each.name) for each in done.iterdir())


def test_a_file_that_changed_since_it_was_told_is_not_put_away(into: Path) -> None:
    it = Folder(asked(into, content="data", afterwards="delete"), SOURCE, now=lambda: 0)
    put(into / "a", "1")
    taken = it.take(it.look())
    put(into / "a", "2")

    it.told(taken)

    assert (into / "a").read_text() == "2"
    [again] = it.take(it.look())
    assert isinstance(again.event, Event)
    assert again.event.data == b"2"


async def test_a_file_that_cannot_be_moved_is_told_once_and_moved_when_it_can_be(
    into: Path, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    done.mkdir()
    (done / "a").write_text("where a folder is needed")
    put(into / "a" / "1")
    put(into / "2")

    async with watched(into, recursive=True, afterwards="move", moveTo=str(done)) as run:
        assert sorted(subjects(await run.events(2))) == ["2", "a/1"]
        status = await run.until("unhealthy")
        assert status.error == f"{into}/a/1 cannot be moved: File exists"
        put(into / "3")
        assert subjects(await run.events(1)) == ["3"]
        (done / "a").unlink()
        await run.until("running")

    assert (done / "a" / "1").exists()


# --- what is rejected ------------------------------------------------------------------------


async def test_what_is_too_large_is_rejected_with_its_path_and_stays(into: Path) -> None:
    large = put(into / "large", "12345")

    async with watched(into, content="data", maxBytes=4) as run:
        (letter,) = await run.rejected(1)
        put(into / "small", "1234")
        await run.events(1)

        assert letter.why.reason == f"{large}: 5 bytes are more than maxBytes, 4"
        assert letter.event.id.startswith("large@")
        assert len(await run.rejected(1)) == 1


async def test_what_is_rejected_is_moved_and_never_deleted(into: Path, tmp_path: Path) -> None:
    put(into / "large", "12345")
    small = {"content": "data", "maxBytes": 4}

    async with watched(into, afterwards="delete", **small) as run:
        await run.rejected(1)
        put(into / "next", "1")
        await run.events(1)
        await until(lambda: [each.name for each in into.iterdir()] == ["large"])
        assert len(await run.rejected(1)) == 1
    done = tmp_path / "done"
    async with watched(into, afterwards="move", moveTo=str(done), **small) as run:
        (letter,) = await run.rejected(1)
        await until((done / "large").exists)

        assert letter.why.reason.endswith(f"; it is moved to {done}/large")


@pytest.mark.parametrize(("name", "shown"), [(b"\xe4.csv", "\\xe4.csv"), (b"a\nb.csv", "a\nb.csv")])
async def test_a_name_that_no_subject_can_be_is_rejected(
    into: Path, name: bytes, shown: str
) -> None:
    put(into / os.fsdecode(name))

    async with watched(into) as run:
        (letter,) = await run.rejected(1)

        assert letter.why.reason.startswith(f"{into}/{shown}: 'subject' contains U+")


async def test_a_file_that_the_broker_refuses_is_rejected_and_those_beside_it_are_told(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryChannel.append

    async def refuses(channel: MemoryChannel, events: Sequence[Event]) -> None:
        if any(len(each.data or b"") > 3 for each in events):  # as Kafka does, at a megabyte
            raise TooLarge("the event is larger than the store takes")
        await stores(channel, events)

    monkeypatch.setattr(MemoryChannel, "append", refuses)
    for name, text in (("a", "1"), ("b", "too large"), ("c", "2")):
        put(into / name, text)

    async with watched(into, content="data", afterwards="delete") as run:
        assert sorted(subjects(await run.events(2))) == ["a", "c"]
        (letter,) = await run.rejected(1)
        await until(lambda: [each.name for each in into.iterdir()] == ["b"])

        assert letter.why.reason == f"{into}/b: the event is larger than the store takes"


# --- what operators see ----------------------------------------------------------------------


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    missing = tmp_path / "in"

    async with watched(missing) as run:
        status = await run.until("unhealthy")
        assert status.error == f"{missing} cannot be read: No such file or directory"
        put(missing / "a")
        assert subjects(await run.events(1)) == ["a"]
        await run.until("running")


@pytest.mark.parametrize(
    ("move_to", "why"),
    [
        ("/proc", "moveTo: /proc is on another file system than {into}"),
        ("{into}/no/done", "moveTo: {into}/no/done cannot be made: No such file or directory"),
    ],
)
async def test_nothing_is_told_where_nothing_could_be_moved(
    into: Path, move_to: str, why: str
) -> None:
    put(into / "a")

    async with watched(into, afterwards="move", moveTo=move_to.format(into=into)) as run:
        status = await run.until("unhealthy")

        assert status.error == why.format(into=into)
        assert (status.emitted, status.lag) == (0, 1)


# --- what a spec may say ---------------------------------------------------------------------


def refused(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        DirectorySpec.model_validate({"path": "/in", **fields})
    [error] = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "~/in"}, "path: '~/in': a ~ stands for nobody's folder here; write the whole"),
        ({"path": __file__}, f"path: '{__file__}' is a file; write its folder, and the file's"),
        ({"path": "/a\0"}, "path: contains a NUL"),
        ({"pattern": "a/*"}, "pattern: 'a/*' is matched with names, which have no '/'"),
        ({"pattern": "*.tmp"}, "pattern: '*.tmp': names that begin with a dot or end with .tmp or"),
        ({"interval": "PT0.05S"}, "interval: is less than PT0.1S"),
        ({"maxBytes": 5}, ": 'maxBytes' bounds the payload of 'content: data' alone: drop it"),
        ({"afterwards": "delete"}, ": 'afterwards: delete' would leave events that refer to files"),
        ({"afterwards": "move"}, ": 'moveTo' is missing: the folder that files are moved to"),
        ({"moveTo": "/done"}, ": 'moveTo' is for 'afterwards: move'"),
        ({"afterwards": "move", "moveTo": "/x/../in/"}, ": 'moveTo' is the folder of 'path'"),
    ],
)
def test_what_is_wrong_is_said(
    fields: Mapping[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # of how often it may look

    assert refused(**fields).startswith(message)


async def test_the_manifest_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    page = PAGE.read_text().replace("/var/spool/orders", str(tmp_path))
    [shown] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [example] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n"
    file = tmp_path / "mesh.yaml"
    file.write_text(f"{shown}---\n{broker}")
    [source] = load([file]).desired.sources.values()
    put(tmp_path / "in" / "17.csv")

    async with running(DirectorySource, source.spec, name="orders") as run:
        (event,) = await run.events(1)
        await until((tmp_path / "done" / "17.csv").exists)

    told = json.loads(example)
    where = told.pop("data")
    assert event.attributes.keys() == told.keys()
    assert {event.source, event.type} == {told["source"], told["type"]}
    assert json.loads(event.data or b"") == {
        name: path.replace("/2026/", "/") for name, path in where.items()
    }
