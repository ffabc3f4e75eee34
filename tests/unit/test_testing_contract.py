"""The suite of every channel, as the author of one runs it: on a channel that does it wrong."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import pytest

from cemesh.testing.contract import channels

CONFTEST = """
from contextlib import nullcontext
from datetime import timedelta

import pytest
from broker.channels.memory import MemoryBackend, MemoryChannel
from cemesh import BackendOptions, Event


class Harness:
    def __init__(self, folder):
        self._options = BackendOptions(
            data_dir=str(folder), retention_age=timedelta(days=1), retention_bytes=1 << 20
        )

    def backend(self):
        return MemoryBackend(self._options)

    def outage(self):
        return nullcontext()


class Wrong(MemoryChannel):
    def submit(self, events, *, to=None):
        renamed = [
            Event({**event.attributes, "id": f"not {event.id}"}, event.data) for event in events
        ]
        return super().submit([*renamed, renamed[-1]], to=to)


@pytest.fixture
def harness(tmp_path, monkeypatch):
    monkeypatch.setattr("broker.channels.memory.MemoryChannel", Wrong)
    return Harness(tmp_path)
"""

FOUND = {
    "appending": ("an_event_that_no_trigger_matches_is_accepted", "assert 2 == 1"),
    "books": ("the_books_balance_at_every_step", "assert (1508, 1, 2) == (1506, 1, 2)"),
    "looking_on": ("the_tail_follows_what_is_appended_from_now_on", "== ['1', '2']"),
    "ordering": ("a_released_event_comes_before_later_ones_of_its_key", "assert 'not a1' == 'a1'"),
    "outages": ("the_books_are_told_while_the_store_is_gone", "assert 4 == 3"),
    "pausing": (
        "a_channel_hands_out_what_a_paused_trigger_gets_all_the_same",
        "== ['0', '1', '2']",
    ),
    "settling": ("a_released_claim_comes_again_with_the_same_attempts", "== ('1', 0)"),
    "subscribing": ("a_changed_filter_holds_for_what_comes_after", "assert '3' in ['not 1', "),
}
"""For each module a test that fails there, and what shows that its values are told."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_mine.py").write_text("from cemesh.testing.contract.channels import *\n")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    tests = [f"test_mine.py::test_{test}" for test, _ in FOUND.values()]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-vv", "-p", "pytest_asyncio.plugin", *tests],
        cwd=folder,
        # Our own plug-in, found by itself, would have pytest rewrite all of this package.
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    ).stdout


@pytest.mark.parametrize("module", sorted(FOUND))
def test_a_failed_assertion_shows_its_values(said: str, module: str) -> None:
    test, shown = FOUND[module]

    _, _, after = said.partition(f"_ test_{test} _")
    failure, _, _ = after.partition("\n____")

    assert f"contract/channels/{module}.py" in failure, said
    assert shown in failure


def test_what_any_module_promises_is_a_promise_of_the_suite() -> None:
    for module in pkgutil.iter_modules(channels.__path__):
        promises = vars(getattr(channels, module.name))
        for name in promises:
            if name.startswith("test_"):
                assert getattr(channels, name) is promises[name], f"{module.name}.{name}"
        assert module.name in FOUND
