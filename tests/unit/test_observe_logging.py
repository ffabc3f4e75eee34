"""Log lines: for people, for machines, and from libraries."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from broker.observe.logging import Level, configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("cemesh")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    for name in ("aiokafka", "aiormq"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def test_a_text_line_names_the_part_the_stage_and_the_fields() -> None:
    stream = io.StringIO()
    configure("text", "info", stream=stream)

    logging.getLogger("cemesh.delivery").warning(
        "attempt failed", extra={"trigger": "default/audit", "status": 503, "reason": "too busy"}
    )

    line = stream.getvalue()
    assert "warning delivery   attempt failed  " in line
    assert line.endswith('trigger=default/audit status=503 reason="too busy"\n')


def test_a_json_line_holds_the_fields_beside_the_message() -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream)

    logging.getLogger("cemesh.delivery").error("gave up", extra={"event_id": "é", "attempts": 3})

    line = json.loads(stream.getvalue())
    assert line["level"] == "error"
    assert line["logger"] == "cemesh.delivery"
    assert line["message"] == "gave up"
    assert line["event_id"] == "é"
    assert line["attempts"] == 3
    assert line["time"].endswith("+00:00")


def test_a_field_does_not_take_the_place_of_the_level() -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream)

    logging.getLogger("cemesh.x").warning("stage", extra={"level": "fine", "time": "never"})

    line = json.loads(stream.getvalue())
    assert line["level"] == "warning"
    assert line["time"] != "never"


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_comes_with_its_traceback(format: str) -> None:
    stream = io.StringIO()
    configure("json" if format == "json" else "text", "info", stream=stream)

    try:
        raise ZeroDivisionError("by nought")
    except ZeroDivisionError:
        logging.getLogger("cemesh.x").exception("failed")

    assert "Traceback" in stream.getvalue()
    assert "ZeroDivisionError: by nought" in stream.getvalue()
    if format == "json":
        assert len(stream.getvalue().splitlines()) == 1


def test_a_line_break_in_a_field_or_message_does_not_make_a_line() -> None:
    stream = io.StringIO()
    configure("text", "info", stream=stream)

    logging.getLogger("cemesh.x").warning("one\ntwo", extra={"source": "a\nb", "url": "\x1b[2J"})

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_the_level_holds_for_cemesh_and_libraries_are_heard_from_warnings_on() -> None:
    stream = io.StringIO()
    configure("json", "debug", stream=stream)

    logging.getLogger("cemesh.x").debug("ours")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("worry")

    told = [json.loads(each)["message"] for each in stream.getvalue().splitlines()]
    assert told == ["ours", "worry"]


def test_below_its_level_cemesh_is_silent() -> None:
    stream = io.StringIO()
    configure("text", "error", stream=stream)

    logging.getLogger("cemesh.x").warning("not that bad")

    assert stream.getvalue() == ""


@pytest.mark.parametrize("name", ["aiokafka.conn", "aiormq.connection"])
@pytest.mark.parametrize(("level", "heard"), [("info", False), ("debug", True)])
def test_the_clients_of_stores_are_heard_only_by_whoever_debugs(
    name: str, level: Level, heard: bool
) -> None:
    stream = io.StringIO()
    configure("text", level, stream=stream)

    logging.getLogger(name).error("Unable connect to node")

    assert bool(stream.getvalue()) is heard


def test_what_uvicorn_logs_is_told_in_the_same_form() -> None:
    stream = io.StringIO()
    own = logging.getLogger("uvicorn.error")
    own.addHandler(logging.StreamHandler(io.StringIO()))
    own.propagate = False
    configure("json", "info", stream=stream)

    own.error("Exception in ASGI application", extra={"color_message": "\x1b[31m"})
    own.info("Started server process")

    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["logger"] == "uvicorn.error"
    assert "color_message" not in line


def test_only_a_terminal_gets_colours_and_not_against_its_users_wish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    pipe, terminal, plain_terminal = io.StringIO(), Terminal(), Terminal()

    configure("text", "info", stream=pipe)
    logging.getLogger("cemesh.x").warning("stage")
    configure("text", "info", stream=terminal)
    logging.getLogger("cemesh.x").warning("stage")
    monkeypatch.setenv("NO_COLOR", "1")
    configure("text", "info", stream=plain_terminal)
    logging.getLogger("cemesh.x").warning("stage")

    assert "\x1b" not in pipe.getvalue()
    assert "\x1b[33m" in terminal.getvalue()
    assert "\x1b" not in plain_terminal.getvalue()


def test_configuring_again_takes_the_place_of_the_first_time() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("text", "info", stream=first)
    configure("text", "info", stream=second)

    logging.getLogger("cemesh.x").info("stage")

    assert first.getvalue() == ""
    assert second.getvalue().count("stage") == 1
