"""FileSink: lines that are durable, files that are put aside, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from broker.codecs.json import decode_event
from broker.event import Event
from broker.ports import Accepted, Refused
from sinks.file import FileSink, FileSinkSpec
from sinks.filewriting import Rotated


def spec(path: Path, **fields: object) -> FileSinkSpec:
    return FileSinkSpec.model_validate({"path": str(path), **fields})


def event(id: str, data: bytes | None = b'{"a": 1}', content_type: str | None = None) -> Event:
    attributes = {"specversion": "1.0", "id": id, "source": "/here", "type": "a.b"}
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return Event.checked(attributes, data)


async def taken(sink: FileSink, *events: Event) -> None:
    answers = await asyncio.gather(*(sink.attempt(each) for each in events))
    assert answers == [Accepted()] * len(events)


def lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    assert content.endswith(b"\n")
    return content.splitlines()


def files(folder: Path) -> list[Path]:
    return [each for each in folder.glob("events.jsonl*") if each.suffix != ".lock"]


async def test_a_line_is_the_event_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    events = [
        event("1", b'{"pretty":\n\t"printed\\n"\r\n}', "application/json"),
        event("2", b"text with\na line break", "text/plain"),
        event("3", b"\x00\xff\n", "image/png"),
        event("4", None),
    ]
    async with FileSink(spec(path)) as sink:
        await taken(sink, *events)

    first, *others = [decode_event(line) for line in lines(path)]
    assert others == events[1:]
    assert first.attributes == events[0].attributes
    assert json.loads(first.data or b"") == {"pretty": "printed\n"}


async def test_of_the_format_data_a_line_is_the_payload(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    async with FileSink(spec(path, format="data")) as sink:
        await taken(sink, event("1"), event("2", b"[1,\n2]", "application/json"))
        refused = [
            await sink.attempt(each)
            for each in (event("3", None), event("4", b"<a/>", "text/xml"), event("5", b"{"))
        ]
        deep = await sink.attempt(event("6", b"[" * 100_000 + b"]" * 100_000))

    assert lines(path) == [b'{"a": 1}', b"[1, 2]"]
    assert [isinstance(each, Refused) and each.permanent for each in refused] == [True] * 3
    assert refused[1] == Refused(
        reason="the payload is text/xml, and a line of format 'data' is JSON", permanent=True
    )
    assert deep == Refused(reason="the payload is JSON that is nested too deep", permanent=True)


async def test_many_events_are_written_in_their_order_and_none_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [event(str(number)) for number in range(5_000)]
    async with FileSink(spec(path)) as sink:
        await taken(sink, *events)

    assert [decode_event(line).id for line in lines(path)] == [each.id for each in events]


async def test_a_file_is_put_aside_before_it_is_too_large_and_old_ones_are_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    async with FileSink(spec(path, rotate={"maxBytes": 300, "keep": 2})) as sink:
        for number in range(20):
            await taken(sink, event(str(number)))

    kept = [tmp_path / f"events.jsonl{end}" for end in (".2", ".1", "")]
    assert set(files(tmp_path)) == set(kept)
    numbers = [int(decode_event(line).id) for each in kept for line in lines(each)]
    assert numbers == list(range(numbers[0], 20)), "the newest, without a gap"
    assert all(each.stat().st_size <= 300 for each in kept)


async def test_two_processes_may_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rotated = spec(path, rotate={"maxBytes": 1000, "keep": 1000})
    async with FileSink(rotated) as one, FileSink(rotated) as two:
        for number in range(0, 100, 2):
            await asyncio.gather(taken(one, event(str(number))), taken(two, event(str(number + 1))))

    numbers = [int(decode_event(line).id) for each in files(tmp_path) for line in lines(each)]
    assert sorted(numbers) == list(range(100))


async def test_a_file_that_others_move_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with FileSink(spec(path)) as sink:
        await taken(sink, event("1"))
        path.rename(tmp_path / "moved")
        await taken(sink, event("2"))

    assert decode_event(lines(tmp_path / "moved")[0]).id == "1"
    assert [decode_event(line).id for line in lines(path)] == ["2"]


async def test_a_file_that_cannot_be_written_refuses_and_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("not a folder")
    async with FileSink(spec(folder / "events.jsonl")) as sink:
        refused = await sink.attempt(event("1"))
        folder.unlink()
        await taken(sink, event("1"))

    assert refused == Refused(reason=f"{folder}/events.jsonl: File exists")


def test_what_was_written_in_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Rotated(tmp_path / "a", max_bytes=None, keep=0)
    file.append(b"one\n")
    sync = os.fdatasync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space left"):
        file.append(b"two\n")
    monkeypatch.setattr(os, "fdatasync", sync)
    file.append(b"three\n")
    file.close()

    assert (tmp_path / "a").read_bytes() == b"one\nthree\n"


@pytest.mark.parametrize(
    ("left", "found"),
    [
        (b'{"id": "1"}\n{"id": "2", "da', b'{"id": "1"}\nnew\n'),
        (b'{"id": "2", "da', b"new\n"),
        (b'{"id": "2", "data": {"a": 1}', b"new\n"),
        (b"[1, [2]", b"new\n"),
        (b'{"id": "1"}\n{"id": "2"}', b'{"id": "1"}\n{"id": "2"}\nnew\n'),
        (b"a note of somebody", b"a note of somebody\nnew\n"),
        (b'{"id": "1"}\n', b'{"id": "1"}\nnew\n'),
    ],
)
def test_a_line_that_a_crash_left_unfinished_is_cut_off(
    tmp_path: Path, left: bytes, found: bytes
) -> None:
    path = tmp_path / "a"
    path.write_bytes(left)
    file = Rotated(path, max_bytes=None, keep=0)
    file.append(b"new\n")
    file.close()

    assert path.read_bytes() == found
