"""What the mesh warns of, and what to do about it: said with each line, and in the docs."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.observe.hints import HINTS
from broker.observe.logging import SOURCE, configure

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "logs.md"
FOLDERS = ("broker", "delivery", "sources", "sinks")
TROUBLE = ("met", "told")
"""The methods of `broker.channels.trouble.Trouble`, whose first argument is a message."""

MADE = {
    ("broker/channels/trouble.py", "stage"): set[str](),  # found where it is called
    ("delivery/gate.py", "message"): {"trigger paused", "trigger probed"},
    ("delivery/parking.py", "f'event {change}'"): {"event parked"},
}
"""Messages that are no literals where they are logged → those of them that warn."""


def messages() -> Iterator[tuple[str, str]]:
    """Yield where something is warned of, and the message."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    for message in _messages(name, node, node.func):
                        yield f"{name}:{node.lineno}", message


def _messages(file: str, call: ast.Call, called: ast.Attribute) -> Iterator[str]:
    whose, method = ast.unparse(called.value).rpartition(".")[2], called.attr
    if whose in ("_log", "logger") and method in ("warning", "error", "exception", "critical"):
        message = call.args[0]
    elif whose in ("_log", "logger") and method == "log":
        message = call.args[1]
    elif whose.endswith("trouble") and method in TROUBLE:
        message = call.args[0]
    else:
        return
    if isinstance(message, ast.Constant):
        yield str(message.value)
    else:
        yield from MADE[file, ast.unparse(message)]


def rows() -> dict[str, str]:
    """Return message → what to do, as the page has them."""
    found = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_for_all_that_is_warned_of_it_is_said_what_to_do() -> None:
    told = dict(messages())

    assert len(told) > 80
    assert {at: message for at, message in told.items() if message not in HINTS} == {}


def test_nothing_is_said_of_what_is_never_warned_of() -> None:
    assert HINTS.keys() - {message for _, message in messages()} == set()


def test_the_page_has_each_message_and_says_what_its_line_says() -> None:
    assert rows() == dict(HINTS)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("cemesh")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    stream = io.StringIO()
    configure("json", "info", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    for name in ("aiokafka", "aiormq", "cemesh.audit"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def test_a_warning_comes_with_what_to_do(log: io.StringIO) -> None:
    logging.getLogger("cemesh.delivery").warning("trigger paused", extra={"why": "410"})
    logging.getLogger("cemesh.delivery").info("trigger paused")
    logging.getLogger("library").warning({"what": "is no text"})

    first, *others = map(json.loads, log.getvalue().splitlines())
    assert first["hint"] == HINTS["trigger paused"]
    assert not [each for each in others if "hint" in each]


def test_what_a_source_logs_says_which_unless_it_does_so_itself(log: io.StringIO) -> None:
    before = SOURCE.set("FileSource default/lines")
    logging.getLogger("cemesh.sources").info("file gone")
    logging.getLogger("cemesh.sources").info("accepted", extra={"source": "/of/the/event"})
    SOURCE.reset(before)
    logging.getLogger("cemesh.sources").info("file gone")

    lines = map(json.loads, log.getvalue().splitlines())
    assert [each.get("source") for each in lines] == [
        *("FileSource default/lines", "/of/the/event", None)
    ]
