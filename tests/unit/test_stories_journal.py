"""Stories are kept within bounds, and neither faults nor crashes cost more than stories."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.errors import CemeshError, ChannelUnavailable
from broker.observe.stories import journal
from broker.observe.stories.journal import Journal
from broker.observe.stories.telling import by_event
from broker.ports import (
    Verdict,
)
from broker.ports.stories import (
    Wanted,
)
from tests.unit.stories import (
    TRIGGER,
    accept,
    event,
    files,
    found,
    keeping,
    noted,
)
from tests.watching import attempt


async def test_the_oldest_are_gone_where_there_is_no_more_room() -> None:
    async with Journal(keeping(size=20_000)) as journal:
        for number in range(400):
            accept(journal, event(str(number), source="/a/source/of/a/hundred/bytes" * 4))
            await journal.of([])
        ids = await found(journal, Wanted())
        size = await journal._do(lambda: journal_size(journal))

    assert ids[0] == "399"
    assert ids == [str(number) for number in range(399, 399 - len(ids), -1)]
    assert 10_000 < size <= 20_000


async def test_who_asks_while_the_mesh_starts_or_stops_waits_or_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Journal(keeping())
    asking = asyncio.create_task(kept.of(["1"]))
    await asyncio.sleep(0)
    async with kept:
        assert await asking == []

    with pytest.raises(ChannelUnavailable, match="the stories are not open"):
        await kept.of(["1"])

    monkeypatch.setattr(journal, "_OPENS_WITHIN", 0.01)
    with pytest.raises(ChannelUnavailable, match="the stories are not open"):
        await Journal(keeping()).search(Wanted(), limit=1)


async def test_what_is_too_old_is_gone() -> None:
    async with Journal(replace(keeping(), age=timedelta(hours=1))) as kept:
        noted(kept, "old", datetime.now(UTC).timestamp() - 7_200)
        noted(kept, "new", datetime.now(UTC).timestamp())

        assert await found(kept, Wanted()) == ["new"]


async def test_of_a_sample_all_is_kept_and_of_others_what_went_wrong() -> None:
    async with Journal(keeping(sample=0.5)) as kept:
        for number in range(200):
            each = event(str(number))
            accept(kept, each)
            kept.recorder.attempted(attempt(TRIGGER, event=each))
            kept.recorder.attempted(attempt("shop/audit", Verdict.RETRY, event=each))
        entries = by_event(await kept.of([str(number) for number in range(200)]))

    told = [len(each) for each in entries.values()]
    assert set(told) == {1, 3}
    assert 50 < told.count(3) < 150


async def test_a_file_is_gone_on_with_and_processes_have_one_each(tmp_path: Path) -> None:
    async with Journal(keeping(tmp_path)) as first, Journal(keeping(tmp_path)) as second:
        accept(first, event("1"))
        accept(second, event("2"))
        assert await found(first, Wanted()) == ["1"]
        assert await found(second, Wanted()) == ["2"]

    async with Journal(keeping(tmp_path)) as again:
        assert await found(again, Wanted()) == ["1"]
    assert files(tmp_path) == ["stories-0.db", "stories-1.db"]


def journal_size(opened: Journal) -> int:
    assert opened._file is not None
    return journal._size_of(opened._file)


KILLED = """
import asyncio, os, signal, sys
sys.path.insert(0, os.getcwd())
from pathlib import Path
from tests.unit.stories import Journal, accept, event, keeping

async def main():
    async with Journal(keeping(Path(sys.argv[1]))) as journal:
        for number in range(100):
            accept(journal, event(str(number)))
        await journal.of(["1"])
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_its_stories_and_its_file(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)  # noqa: ASYNC221 - nothing else is to be done
    assert killed.returncode == -signal.SIGKILL

    async with Journal(keeping(tmp_path)) as journal:
        assert len(await found(journal, Wanted())) == 100
    assert files(tmp_path) == ["stories-0.db"]


@pytest.mark.parametrize("damage", ["no database", "another program's"])
async def test_a_file_that_cannot_be_read_is_put_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stories-0.db"
    if damage == "no database":
        path.write_bytes(b"no database" * 1_000)
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (a)")
        other.close()
    before = path.read_bytes()

    async with Journal(keeping(tmp_path)) as journal:
        accept(journal, event())
        assert await found(journal, Wanted()) == ["1"]

    assert (tmp_path / "stories-0.damaged").read_bytes()[:1_000] == before[:1_000]
    assert "stories begun anew" in caplog.text


async def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CemeshError, match="name another folder with --stories-dir"):
        async with Journal(keeping(tmp_path / "file" / "folder")):
            pass


async def test_a_disk_that_fails_costs_stories_and_is_told_once(
    kept: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(Journal, "_trim", full)
        for number in range(3):
            accept(kept, event(str(number)))
            await kept.of(["0"])
    accept(kept, event("after"))

    assert await found(kept, Wanted()) == ["after"]
    [line] = [each for each in caplog.records if each.getMessage() == "stories not kept"]
    assert vars(line)["why"] == "database or disk is full"


async def test_a_disk_that_does_not_keep_up_costs_stories_and_no_memory(
    kept: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_PENDING", 2)
    for number in range(10):
        accept(kept, event(str(number)))
        kept.recorder.flush()

    assert await found(kept, Wanted()) == ["1", "0"]
    assert "the disk does not keep up" in str([vars(each) for each in caplog.records])


async def test_what_is_noted_is_stored_without_being_asked_for(tmp_path: Path) -> None:
    async with Journal(keeping(tmp_path)) as opened:
        accept(opened, event())
        async with asyncio.timeout(10):
            while not await opened._do(lambda: journal_size(opened)):
                await asyncio.sleep(0.01)
