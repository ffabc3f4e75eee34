"""The level of the log, over the admin API and by the command line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.observe.logging import set_level
from tests.unit.stand_in import StandIn, admin_port, ask, cemesh

LOG = "/api/v1/log"


@pytest.fixture(autouse=True)
def _levels_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(each) for each in ("", "cemesh", "cemesh.audit")]
    loggers += [logging.getLogger(each) for each in ("aiokafka", "aiormq")]
    levels = [each.level for each in loggers]
    set_level("info")
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


async def test_the_level_is_shown_and_changed(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    async with admin_port(await StandIn.start(), audit_file=audit) as port:
        before = await ask(port, "GET", LOG)
        changed = await ask(port, "PUT", LOG, b'{"level": "debug"}')
        after = await ask(port, "GET", LOG)

    levels = [json.loads(each.body) for each in (before, changed, after)]
    assert levels == [{"level": "info"}, {"level": "debug"}, {"level": "debug"}]
    assert logging.getLogger("cemesh.delivery").isEnabledFor(logging.DEBUG)
    line = json.loads(audit.read_text())
    assert (line["action"], line["before"], line["level"]) == ("log", "info", "debug")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            b'{"level": "verbose"}',
            "'verbose' is no level of the log: debug, info, warning or error",
        ),
        (b'{"level": "DEBUG"}', "'DEBUG' is no level of the log: debug, info, warning or error"),
        (b'{"level": 10}', "Expected `str`, got `int` - at `$.level`"),
        (b"{}", "missing required field `level`"),
        (b"", "Input data was truncated"),
    ],
)
async def test_what_is_no_level_is_refused(body: bytes, detail: str) -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "PUT", LOG, body)
        after = await ask(port, "GET", LOG)

    assert answer.status == 400
    assert detail in json.loads(answer.body)["detail"]
    assert json.loads(after.body) == {"level": "info"}


async def test_the_command_shows_and_changes_it() -> None:
    async with admin_port(await StandIn.start()) as port:
        at = ("--admin-port", str(port))
        shown = await cemesh("log", *at)
        changed = await cemesh("log", "warning", *at, "--output", "json")
        refused = await cemesh("log", "loud", *at)

    assert (shown.code, shown.out) == (0, "info\n")
    assert json.loads(changed.out) == {"level": "warning"}
    assert refused.code == 2
    assert "'loud' is not one of" in refused.err


def test_what_is_audited_is_heard_at_any_level() -> None:
    set_level("error")

    assert logging.getLogger("cemesh.audit").isEnabledFor(logging.INFO)
    assert not logging.getLogger("cemesh.mesh").isEnabledFor(logging.WARNING)
