"""The audit log: its lines, and the file that is rotated while it is written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from broker.observe.audit import AuditLog, Change, Who
from broker.observe.logging import AUDIT


def paused(why: str = "the ledger moves") -> Change:
    return Change(
        action="pause",
        subject="Trigger default/audit",
        outcome="done",
        who=Who(peer="127.0.0.1", claimed="ann@desk"),
        detail={"why": why},
    )


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(each) for each in file.read_text().splitlines()]


async def test_a_line_says_who_changed_what_and_when(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"

    await AuditLog(file).note(paused())

    (line,) = lines(file)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "action": "pause",
        "subject": "Trigger default/audit",
        "outcome": "done",
        "peer": "127.0.0.1",
        "claimed_user": "ann@desk",
        "why": "the ledger moves",
    }


async def test_what_is_said_in_detail_cannot_stand_for_who_did_it(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    detail: Mapping[str, str] = {"peer": "10.0.0.1", "outcome": "done", "subject": "nothing"}

    change = Change(
        action="x", subject="Broker a/b", outcome="failed", who=Who(peer="::1"), detail=detail
    )
    await AuditLog(file).note(change)

    (line,) = lines(file)
    assert (line["peer"], line["outcome"], line["subject"]) == ("::1", "failed", "Broker a/b")


async def test_without_a_file_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, AUDIT):
        await AuditLog().note(paused())

    (record,) = caplog.records
    assert (record.name, record.message) == (AUDIT, "pause")
    assert vars(record)["claimed_user"] == "ann@desk"


async def test_what_is_there_from_an_earlier_run_stays(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    await AuditLog(file).note(paused("first"))

    await AuditLog(file).note(paused("second"))

    assert [each["why"] for each in lines(file)] == ["first", "second"]


async def test_a_file_that_is_renamed_or_truncated_is_gone_on_with(tmp_path: Path) -> None:
    file, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    audit = AuditLog(file)
    await audit.note(paused("1"))

    file.rename(old)
    await audit.note(paused("2"))
    await audit.note(paused("3"))
    file.write_bytes(b"")
    await audit.note(paused("4"))

    assert [each["why"] for each in lines(old)] == ["1"]
    assert [each["why"] for each in lines(file)] == ["4"]
    assert b"\0" not in file.read_bytes()


async def test_a_line_that_a_crash_broke_off_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text('{"action": "pau')

    await AuditLog(file).note(paused())

    torn, whole = file.read_text().splitlines()
    assert torn == '{"action": "pau'
    assert json.loads(whole)["action"] == "pause"


async def test_what_cannot_be_written_is_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await AuditLog(tmp_path / "gone" / "audit.jsonl").note(paused())

    told, error = caplog.records
    assert told.message == "pause"
    assert (error.levelname, error.message) == ("ERROR", "change not audited")
    assert vars(error)["subject"] == "Trigger default/audit"
    assert vars(error)["why"] == "No such file or directory"


async def test_of_many_names_the_file_has_more_than_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "audit.jsonl"
    names: Sequence[str] = [str(each) for each in range(1_500)]

    with caplog.at_level(logging.INFO, AUDIT):
        await AuditLog(file).note(Change(action="redrive", outcome="done", detail={"ids": names}))

    (line,), (record,) = lines(file), caplog.records
    assert line["ids"] == [*names[:1_000], "and 500 more"]
    assert vars(record)["ids"] == [*names[:20], "and 1480 more"]


async def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"

    await AuditLog(file).note(paused())

    assert file.stat().st_mode & 0o077 == 0
