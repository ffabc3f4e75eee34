"""FileSource: the lines of real files, as they grow, are rotated, emptied and replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.channels.memory import MemoryChannel
from broker.errors import TooLarge
from broker.event import Event
from cemesh.testing import RunningSource, running
from sources.file import FileSource, FileSpec, source, tails
from tests.unit.meshes import until

SOURCE = "/apis/v1/namespaces/default/filesources/lines"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_LOOKS_EVERY", 0.01)


def read(path: Path | str, **spec: object) -> AbstractAsyncContextManager[RunningSource]:
    """Run the source on this path, for lines of text unless ``spec`` says otherwise."""
    asked = {"path": str(path), "format": "text", "type": "com.example.line", **spec}
    if asked["format"] == "cloudevents":
        del asked["type"]
    return running(FileSource, FileSpec.model_validate(asked), name="lines")


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def lines(events: Sequence[Event]) -> list[bytes | None]:
    return [each.data for each in events]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files that were rotated away for finished when they have been quiet for a moment."""
    monkeypatch.setattr(tails, "_QUIET", 0.1)


# --- what a line becomes ---------------------------------------------------------------------


async def test_each_line_is_an_event_that_says_where_it_stood(tmp_path: Path) -> None:
    log = tmp_path / "ä b#.jsonl"
    append(log, '{"n": 1.0}\n\r\n\n [2]  \r\n')

    async with read(log, format="json") as run:
        first, second = await run.events(2)

        inode, met, offset, _ = first.id.split(".")
        assert first.attributes == {
            "specversion": "1.0",
            "id": first.id,
            "source": f"{SOURCE}#{tmp_path}/%C3%A4%20b%23.jsonl",
            "type": "com.example.line",
            "datacontenttype": "application/json",
        }
        assert (first.data, second.data) == (b'{"n": 1.0}', b" [2]  ")
        assert (int(inode, 16), offset) == (log.stat().st_ino, "0")
        assert second.id.startswith(f"{inode}.{met}.14.")


async def test_a_line_of_text_may_be_any_bytes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, b"\xff\x00 \xe4\n  \n")

    async with read(log) as run:
        first, second = await run.events(2)

        assert (first.data, second.data) == (b"\xff\x00 \xe4", b"  ")
        assert first.attributes["datacontenttype"] == "text/plain"


async def test_a_line_that_is_a_cloudevent_keeps_its_own_attributes(tmp_path: Path) -> None:
    event = {"specversion": "1.0", "id": "7", "source": "/orders", "type": "com.example.order"}
    log = tmp_path / "log"
    append(log, json.dumps({**event, "data": {"total": 1}}) + "\n")

    async with read(log, format="cloudevents") as run:
        (only,) = await run.events(1)

        assert only.attributes == {**event, "datacontenttype": "application/json"}
        assert only.data == b'{"total": 1}'


@pytest.mark.parametrize(
    ("format", "line", "why"),
    [
        ("json", b'{"n": 1', "it is not JSON"),
        ("json", b"1 2", "it is not JSON"),
        ("json", b'"\xe4"', "it is not UTF-8: invalid continuation byte (byte 1)"),
        ("json", b"[" * 100_000, "nested too deep"),
        ("cloudevents", b'{"id": "1"}', "the required attribute 'specversion' is missing"),
        ("cloudevents", b"[]", "the JSON is not an event, an object"),
        ("text", b"x" * 200_001, "200,001 bytes are more than maxLineBytes, 200,000"),
    ],
)
async def test_a_line_that_can_be_no_event_is_rejected_with_its_place_and_the_next_one_read(
    tmp_path: Path, format: str, line: bytes, why: str
) -> None:
    good = b'{"specversion": "1.0", "id": "7", "source": "/a", "type": "b"}\n'
    log = tmp_path / "log"
    append(log, good + line + b"\n" + good)

    async with read(log, format=format, maxLineBytes=200_000) as run:
        await run.events(2)
        (letter,) = await run.rejected(1)

        assert letter.why.reason.startswith(f"the line at byte {len(good)} of {log}: ")
        assert why in letter.why.reason
        assert letter.event.data == (line[:1024] if format == "text" else line)
        assert f".{len(good)}." in letter.event.id


async def test_an_event_that_the_broker_refuses_is_rejected_and_those_beside_it_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryChannel.append

    async def refuses(channel: MemoryChannel, events: Sequence[Event]) -> None:
        if any(len(each.data or b"") > 3 for each in events):  # as Kafka does, at a megabyte
            raise TooLarge("the event is larger than the store takes")
        await stores(channel, events)

    monkeypatch.setattr(MemoryChannel, "append", refuses)
    log = tmp_path / "log"
    append(log, "1\n2, too large\n3\n")

    async with read(log) as run:
        assert lines(await run.events(2)) == [b"1", b"3"]
        (letter,) = await run.rejected(1)

        assert letter.event.data == b"2, too large"
        assert letter.why.reason.endswith("the event is larger than the store takes")


async def test_a_line_is_one_when_its_newline_is_there(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, "one\ntw")

    async with read(log) as run:
        assert lines(await run.events(1)) == [b"one"]
        append(log, "o\nthree\n")

        assert lines(await run.events(2)) == [b"two", b"three"]
        await until(lambda: run.status.lag == 0)


@pytest.mark.parametrize("length", [65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 3 << 20])
async def test_a_line_of_any_length_is_whole_or_rejected(tmp_path: Path, length: int) -> None:
    log = tmp_path / "log"
    long = os.urandom(length // 2).hex().encode().ljust(length, b"x")
    append(log, b"a\n" + long[:100_000])

    async with read(log) as run:
        assert lines(await run.events(1)) == [b"a"]
        append(log, long[100_000:] + b"\nz\n")

        if length <= 1 << 20:
            assert lines(await run.events(2)) == [long, b"z"]
        else:
            assert lines(await run.events(1)) == [b"z"]
            (letter,) = await run.rejected(1)
            assert letter.event.data == long[:1024]


async def test_many_lines_come_in_their_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    wanted = [f"{number} {'x' * (number % 700)}".encode() for number in range(5_000)]
    append(log, b"".join(line + b"\n" for line in wanted))

    async with read(log) as run:
        events = await run.events(5_000)

        assert lines(events) == wanted
        assert len({each.id for each in events}) == 5_000


# --- rotation --------------------------------------------------------------------------------


async def test_a_file_that_is_renamed_is_read_to_its_end_and_so_is_its_successor(
    tmp_path: Path,
) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    append(log, "1\n")

    async with read(log) as run:
        (first,) = await run.events(1)
        log.rename(old)
        append(log, "3\n")
        (third,) = await run.events(1)
        append(old, "2\n")  # its writer has not noticed yet
        (second,) = await run.events(1)

        assert lines([first, second, third]) == [b"1", b"2", b"3"]
        assert first.source == second.source == third.source
        assert first.id.rsplit(".", 2)[0] == second.id.rsplit(".", 2)[0]
        assert first.id.rsplit(".", 2)[0] != third.id.rsplit(".", 2)[0]


async def test_a_file_whose_new_name_matches_too_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, "1\n")

    async with read(f"{log}*") as run:
        await run.events(1)
        log.rename(tmp_path / "log.1")
        append(tmp_path / "log.1", "2\n")
        append(log, "3\n")
        (tmp_path / "log.2.gz").write_bytes(b"\x1f\x8b\n\n")
        await run.events(2)
        await run.restart()
        append(log, "4\n")

        assert lines(await run.events(1)) == [b"4"]


@pytest.mark.parametrize("deleted", [False, True])
async def test_the_unfinished_last_line_of_a_file_that_was_left_is_emitted_after_all(
    tmp_path: Path, at_once: None, deleted: bool
) -> None:
    log = tmp_path / "log"
    append(log, "1\nlast")

    async with read(log) as run:
        await run.events(1)
        if deleted:
            log.unlink()
        else:
            log.rename(tmp_path / "log.1")
        (last,) = await run.events(1)

        assert last.data == b"last"
        assert (await run.until("unhealthy")).error == f"nothing matches {log}"
        append(log, "2\n")
        assert lines(await run.events(1)) == [b"2"]
        await run.until("running")


async def test_what_was_written_before_a_file_was_deleted_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, "1\n")

    async with read(log) as run:
        await run.events(1)
        with log.open("ab") as writer:
            log.unlink()
            writer.write(b"2\n")

        assert lines(await run.events(1)) == [b"2"]


@pytest.mark.parametrize("following", ["3\n", "three, which is longer than what was there\n"])
async def test_a_file_that_was_emptied_is_read_anew(tmp_path: Path, following: str) -> None:
    log = tmp_path / "log"
    append(log, "1\n2\n")

    async with read(log) as run:
        first, _ = await run.events(2)
        os.truncate(log, 0)
        append(log, following)
        (third,) = await run.events(1)

        assert third.data == following.strip().encode()
        assert third.id.rsplit(".", 2)[0] != first.id.rsplit(".", 2)[0]


def test_a_file_that_is_emptied_after_it_was_looked_at_is_read_anew_all_the_same(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    append(log, "1\n")
    reader = tails.Tails(str(log), longest=100, now=lambda: 0.0)
    reader.look()
    reader.read()

    append(log, "2\n")
    reader.look()
    log.write_text("another line\n")

    assert reader.read() == []
    assert [each.data for each in reader.read()] == [b"another line"]
    reader.close()


def test_a_file_that_is_used_again_under_another_name_is_called_by_that(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    append(log, "1\n")
    reader = tails.Tails(f"{log}*", longest=100, now=lambda: 0.0)
    reader.look()
    (first,) = reader.read()

    log.rename(old)
    old.write_text("two\n")
    reader.look()
    (second,) = reader.read()
    reader.close()

    assert (first.path, second.path) == (str(log), str(old))


async def test_files_that_come_later_are_read_and_folders_and_pipes_left_alone(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()

    async with read(tmp_path / "**" / "*.log") as run:
        status = await run.until("unhealthy")
        assert status.error == f"nothing matches {tmp_path}/**/*.log"
        (tmp_path / "a").mkdir()
        append(tmp_path / "a" / "new.log", "1\n")

        assert lines(await run.events(1)) == [b"1"]
        await run.until("running")


async def test_a_link_and_its_file_are_one(tmp_path: Path) -> None:
    append(tmp_path / "today.log", "1\n")
    (tmp_path / "current.log").symlink_to("today.log")

    async with read(tmp_path / "*.log") as run:
        await run.events(1)
        append(tmp_path / "today.log", "2\n")

        assert lines(await run.events(1)) == [b"2"]


# --- restarts --------------------------------------------------------------------------------


async def test_reading_goes_on_where_it_was_whatever_happened_to_the_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, "1\n2")

    async with read(log) as run:
        (first,) = await run.events(1)
        await until(lambda: run.status.lag == 0)
        await run.stop()  # a process that is down
        append(log, "b\n")
        log.rename(tmp_path / "log-2026")
        append(log, "3\n")
        await run.restart()
        second, third = sorted(await run.events(2), key=lambda each: each.data or b"")

        assert lines([second, third]) == [b"2b", b"3"]
        assert second.id.startswith(first.id.rsplit(".", 2)[0])


async def test_a_file_that_was_replaced_while_nobody_looked_is_read_from_its_beginning(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    append(log, "1\n")

    async with read(log) as run:
        (first,) = await run.events(1)
        await until(lambda: run.status.lag == 0)
        await run.stop()
        log.write_text("2\n3\n")  # the same inode, as a new file can have it, too
        await run.restart()
        second, third = await run.events(2)

        assert lines([second, third]) == [b"2", b"3"]
        assert second.id != first.id


@pytest.mark.parametrize("before", ["1\n", ""])
async def test_another_file_that_was_given_the_inode_is_left_alone(
    tmp_path: Path, before: str
) -> None:
    log = tmp_path / "log"
    append(log, before)

    async with read(log) as run:
        await until(lambda: run.status.lag == 0)
        await run.stop()
        log.write_text("none of ours\n")
        log.rename(tmp_path / "other")
        await run.restart()

        assert (await run.until("unhealthy")).error == f"nothing matches {log}"
        append(log, "2\n")
        first = [b"1"] if before else []
        assert lines(await run.events(1 + len(first))) == [*first, b"2"]


async def test_a_file_that_is_rotated_just_as_it_is_opened_is_not_taken_for_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    append(log, "1\n")
    really = os.open

    def rotated(path: str, flags: int) -> int:
        if path == str(log) and not (tmp_path / "log.1").exists():
            log.rename(tmp_path / "log.1")
            append(log, "2\n")
        return really(path, flags)

    monkeypatch.setattr(os, "open", rotated)
    async with read(f"{log}*") as run:
        first, second = await run.events(2)

        assert lines([first, second]) == [b"1", b"2"]
        assert int(first.id.split(".")[0], 16) == (tmp_path / "log.1").stat().st_ino


def test_lines_that_replace_others_after_a_crash_have_ids_of_their_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, "1\n")
    reader = tails.Tails(str(log), longest=100, now=lambda: 0.0)
    reader.look()
    saved = reader.place
    (first,) = reader.read()
    reader.close()  # before how far it came was saved

    log.write_text("2\n")
    reader = tails.Tails(str(log), longest=100, now=lambda: 0.0)
    reader.restore(saved)
    reader.look()
    (second,) = reader.read()
    reader.close()

    assert (first.data, second.data) == (b"1", b"2")
    assert first.id != second.id


async def test_a_disk_that_is_mounted_late_is_not_read_again(tmp_path: Path) -> None:
    folder, away = tmp_path / "disk", tmp_path / "unmounted"
    folder.mkdir()
    append(folder / "log", "1\n")

    async with read(folder / "*") as run:
        (first,) = await run.events(1)
        await until(lambda: run.status.lag == 0)
        await run.stop()
        folder.rename(away)
        await run.restart()
        assert (await run.until("unhealthy")).error == f"nothing matches {folder}/*"
        append(away / "log", "2\n")
        away.rename(folder)

        (second,) = await run.events(1)
        assert (first.data, second.data) == (b"1", b"2")
        assert second.id.startswith(first.id.rsplit(".", 2)[0])


def test_before_a_file_is_forgotten_it_is_looked_for_under_other_names_again(
    tmp_path: Path,
) -> None:
    clock = [0.0]
    folder, away = tmp_path / "disk", tmp_path / "unmounted"
    folder.mkdir()
    append(folder / "log", "1\n")
    reader = tails.Tails(str(folder / "log"), longest=100, now=lambda: clock[0])
    reader.look()
    reader.read()
    saved = reader.place
    reader.close()

    folder.rename(away)
    reader = tails.Tails(str(folder / "log"), longest=100, now=lambda: clock[0])
    reader.restore(saved)
    assert reader.look() == f"nothing matches {folder}/log"
    append(away / "log", "2\n")
    (away / "log").rename(away / "log.1")
    away.rename(folder)
    clock[0] = 601
    reader.look()

    assert [each.data for each in reader.read()] == [b"2"]
    reader.close()


async def test_a_file_that_does_not_come_back_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    append(log, "1\n")

    async with read(log) as run:
        await run.events(1)
        await until(lambda: run.status.lag == 0)
        await run.stop()
        log.unlink()
        monkeypatch.setattr(tails, "_GONE", 0.05)
        await run.restart()
        await until(lambda: "file gone" in caplog.text)

        assert (await run.until("unhealthy")).error == f"nothing matches {log}"


async def test_what_was_there_at_the_very_start_can_be_passed_over(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "1\n2\nunfinis")
    append(tmp_path / "b.log", "x" * 70_000)

    async with read(tmp_path / "*.log", startAt="end") as run:
        await until(lambda: run.status.lag == 0)
        append(tmp_path / "a.log", "hed\n")
        append(tmp_path / "c.log", "new\n")
        assert set(lines(await run.events(2))) == {b"unfinished", b"new"}
        await run.restart()
        append(tmp_path / "b.log", "y\n")

        assert lines(await run.events(1)) == [b"x" * 70_000 + b"y"]


async def test_while_the_store_is_away_nothing_is_skipped(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async with read(log) as run:
        await run.until("unhealthy")
        with run.outage():
            append(log, "1\n2\n")
            await until(lambda: run.status.error == "the store is away")

        assert lines(await run.events(2)) == [b"1", b"2"]


# --- what operators see ----------------------------------------------------------------------


async def test_a_file_that_may_not_be_read_is_told_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "a.log"
    append(secret, "1\n")
    append(tmp_path / "b.log", "2\n")
    really = os.open

    def denied(path: str, flags: int) -> int:
        if path == str(secret):
            raise PermissionError(13, "Permission denied", path)
        return really(path, flags)

    monkeypatch.setattr(os, "open", denied)  # root may read everything
    async with read(tmp_path / "*.log") as run:
        assert lines(await run.events(1)) == [b"2"]
        status = await run.until("unhealthy")
        assert status.error == f"{secret} cannot be read: Permission denied"
        monkeypatch.undo()

        assert lines(await run.events(1)) == [b"1"]


async def test_of_more_files_than_can_be_held_open_each_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "_OPEN", 4)
    files = [tmp_path / f"{number}.log" for number in range(20)]
    for file in files:
        append(file, "1\n")

    async with read(tmp_path / "*.log") as run:
        await run.events(20)
        for file in files:
            append(file, "2\n")

        assert lines(await run.events(20)) == [b"2"] * 20


async def test_files_whose_places_cannot_be_kept_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setattr(tails, "_PLACE_BYTES", 2 * (len(str(tmp_path)) + 110))
    for name in "abc":
        append(tmp_path / f"{name}.log", f"{name}\n")

    async with read(tmp_path / "*.log") as run:
        assert lines(await run.events(2)) == [b"a", b"b"]
        status = await run.until("unhealthy")
        assert status.error is not None
        assert status.error.startswith("1 of the files that match")
        (tmp_path / "a.log").unlink()

        assert lines(await run.events(1)) == [b"c"]
        await run.until("running")


# --- what a manifest may say -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"path": "a"}, "Field required"),
        ({"path": "", "format": "json", "type": "a"}, "at least 1 character"),
        ({"path": "~/a", "format": "json", "type": "a"}, "write the whole path"),
        ({"path": "a/", "format": "json", "type": "a"}, "such as a/\\*.jsonl"),
        ({"path": "a\0", "format": "json", "type": "a"}, "NUL"),
        ({"path": "a.gz", "format": "json", "type": "a"}, "compressed files are not read"),
        ({"path": "a", "format": "json"}, "'type' is missing"),
        ({"path": "a", "format": "json", "type": ""}, "is empty"),
        ({"path": "a", "format": "cloudevents", "type": "a"}, "drop 'type'"),
        ({"path": "a", "format": "csv", "type": "a"}, "'cloudevents', 'json' or 'text'"),
        ({"path": "a", "format": "text", "type": "a", "startAt": "now"}, "'beginning' or 'end'"),
        ({"path": "a", "format": "text", "type": "a", "maxLineBytes": 0}, "greater than or equal"),
        ({"path": "a", "format": "text", "type": "a", "follow": True}, "Extra inputs"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(spec: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        FileSpec.model_validate(spec)
